"""Tiny trainings of segmentation, pose and oriented boxes hold what those of detection do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.data import Dataset
from acmix_exp.outcomes import Outcomes
from acmix_exp.yolo.model import NETWORKS
from acmix_exp.yolo.report_images import store_pictures
from tests.yolo.task_sets import COUNTS, TASKS, make_task_set, task_config
from tests.yolo.test_exact_resume import Recorded
from tests.yolo.training_checks import check_pairs, check_stopped_run

pytestmark = pytest.mark.slow
LOSSES = {
    "segment": {"box", "seg", "cls", "dfl", "sem"},
    "pose": {"box", "pose", "kobj", "cls", "dfl"},
    "obb": {"box", "cls", "dfl", "angle"},
}


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def task_set(task: str, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_task_set(tmp_path_factory.mktemp(task), task)


@pytest.fixture(scope="module")
def whole(task: str, task_set: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    run = Recorded(tmp_path_factory.mktemp("whole"), task_config(task), task_set)
    run.go_on()
    return run


def test_a_run_trains_and_is_described(whole: Recorded, task: str, task_set: Dataset) -> None:
    assert whole.outcome is not None
    found = {key.partition("/")[2].removesuffix("_loss") for key in whole.rows[1] if key.startswith("train/")}
    assert found <= LOSSES[task]
    assert len(found) >= len(LOSSES[task]) - 1
    metrics = whole.outcome.metrics
    assert metrics["task"] == task
    assert {"map50", "map50_95", "precision", "recall"} <= metrics.keys()
    assert {key: whole.rows[2][key] for key in ("map50", "map50_95")} == pytest.approx(
        {key: metrics[key] for key in ("map50", "map50_95")}, abs=1e-3
    )  # last.pt is in float16
    assert list(Outcomes.load(whole.run_dir / "outcomes.npz").classes) == list(task_set.names.values())
    store_pictures(whole.run_dir, task_set, metrics, whole.config, device="cpu")
    assert len(list((whole.run_dir / "images").glob("*.jpg"))) == COUNTS["val"]


def test_a_stopped_run_goes_on_exactly(whole: Recorded, tmp_path: Path) -> None:
    check_stopped_run(whole, tmp_path)


def test_identity_is_the_baseline_and_seeds_are_paired(whole: Recorded, tmp_path: Path) -> None:
    check_pairs(whole, tmp_path, whole.config.hardware)


def test_the_checkpoint_opens_in_stock_ultralytics(whole: Recorded, task: str, tmp_path: Path) -> None:
    code = f"""
import torch
from ultralytics import YOLO
model = YOLO({str(whole.run_dir / "weights" / "last.pt")!r})
model.predict(torch.rand(1, 3, 64, 128), verbose=False, conf=1e-6)
print(model.task, type(model.model).__name__)
"""
    done: Any = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{task} {NETWORKS[task][1].__name__}"
