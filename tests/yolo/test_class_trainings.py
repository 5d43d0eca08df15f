"""Tiny trainings of a classifier hold what those of detection do."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.data import Dataset
from acmix_exp.files import read_json
from acmix_exp.outcomes import ClassOutcomes, load_outcomes
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from acmix_exp.yolo.report_images import store_pictures
from tests.yolo.class_sets import class_config, make_class_set
from tests.yolo.test_exact_resume import Recorded
from tests.yolo.training_checks import check_pairs, check_stopped_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def class_set(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_class_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def whole(class_set: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    run = Recorded(tmp_path_factory.mktemp("whole"), class_config(), class_set)
    run.go_on()
    return run


def test_a_run_trains_and_is_described(whole: Recorded, class_set: Dataset) -> None:
    assert whole.outcome is not None
    assert {"train/loss", "val/loss", "top1", "top5", "rates/backbone_p5/rate1"} <= whole.rows[1].keys()
    metrics = whole.outcome.metrics
    assert {"task": "classify", "metric": "top-1"}.items() <= metrics.items()
    assert metrics["per_class"].keys() == set(class_set.names.values())
    assert "map50_95" not in metrics
    assert whole.outcome.val_last.keys() == {"epoch", "top1", "top5"}
    assert whole.rows[2]["top1"] == pytest.approx(metrics["top1"], abs=0.1)  # last.pt is in float16
    outcomes = load_outcomes(whole.run_dir / "outcomes.npz")
    assert isinstance(outcomes, ClassOutcomes)
    assert outcomes.hits(1).mean() == metrics["top1"]
    last = whole.run_dir / "weights" / "last.pt"
    again = evaluate_checkpoint(last, class_set, "val", whole.config, "cpu")
    assert again == metrics
    store_pictures(whole.run_dir, class_set, metrics, whole.config, device="cpu")
    stored = read_json(whole.run_dir / "images" / "images.json")
    assert stored is not None
    pictures = {entry["name"]: entry for entry in stored["images"]}
    assert len(pictures) == len(stored["images"]) == 12
    assert {entry["truth"][0]["class"] for entry in pictures.values()} == set(class_set.names.values())
    said = dict(zip(outcomes.images, outcomes.classes[outcomes.predicted[:, 0]], strict=True))
    assert {name: entry["predictions"][0]["class"] for name, entry in pictures.items()} == {
        name: said[name] for name in pictures
    }
    windows = read_json(whole.run_dir / "images" / "windows.json")
    assert windows is not None
    assert [point["of"] for point in windows["points"]] == [stored["images"][windows["image"]]["truth"][0]["class"]]


def test_a_stopped_run_goes_on_exactly(whole: Recorded, tmp_path: Path) -> None:
    check_stopped_run(whole, tmp_path)


def test_identity_is_the_baseline_and_seeds_are_paired(whole: Recorded, tmp_path: Path) -> None:
    check_pairs(whole, tmp_path, replace(whole.config.hardware, workers=2))


def test_the_checkpoint_opens_in_stock_ultralytics(whole: Recorded, tmp_path: Path) -> None:
    code = f"""
import torch
from ultralytics import YOLO
model = YOLO({str(whole.run_dir / "weights" / "last.pt")!r})
(found,) = model.predict({str(whole.dataset.splits["val"][0])!r}, verbose=False, imgsz=64)
print(model.task, type(model.model).__name__, len(found.probs.data))
"""
    done: Any = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "classify BlockClassificationModel 4"
