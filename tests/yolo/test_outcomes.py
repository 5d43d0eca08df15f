"""What a run keeps of its evaluation is what ultralytics scored, figure for figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionValidator

from acmix_exp.data import Dataset
from acmix_exp.outcomes import Outcomes
from acmix_exp.run.replicates import mean_average_precision
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from tests.yolo.builders import make_config


@pytest.fixture
def near_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's predictions, too few epochs old to be right once, with shifted copies of the truth among them."""
    random = torch.Generator().manual_seed(0)
    score = DetectionValidator.update_metrics

    def update_metrics(self: DetectionValidator, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        for index, pred in enumerate(preds):
            truth = self._prepare_batch(index, batch)
            for shift in (1.0, 3.0, 6.0):
                count = len(truth["cls"])
                boxes = truth["bboxes"] + shift * torch.randn(count, 4, generator=random)
                pred["bboxes"] = torch.cat([pred["bboxes"], boxes])
                pred["cls"] = torch.cat([pred["cls"], truth["cls"]])
                pred["conf"] = torch.cat([pred["conf"], torch.rand(count, generator=random) / shift])
        score(self, preds, batch)

    monkeypatch.setattr(DetectionValidator, "update_metrics", update_metrics)


@pytest.mark.usefixtures("near_the_truth")
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_resampled_figure_is_that_of_ultralytics(
    trained: Any, dataset: Dataset, tmp_path: Path, split: str
) -> None:
    _, _, run_dir = trained
    metrics = evaluate_checkpoint(
        run_dir / "weights" / "best.pt", dataset, split, make_config(), "cpu", outcomes=tmp_path / "outcomes.npz"
    )
    outcomes = Outcomes.load(tmp_path / "outcomes.npz")
    (value,) = mean_average_precision(outcomes, np.ones((1, len(outcomes.images)), int))
    assert 0.05 < metrics["map50_95"] < 0.95
    assert value[0] == pytest.approx(metrics["map50"], abs=1e-6)
    assert value.mean() == pytest.approx(metrics["map50_95"], abs=1e-6)


def test_outcomes_of_a_run(trained: Any, dataset: Dataset) -> None:
    _, _, run_dir = trained
    outcomes = Outcomes.load(run_dir / "outcomes.npz")
    assert list(outcomes.images) == [path.name for path in dataset.splits["test"]]
    assert list(outcomes.classes) == ["square", "disc"]
    assert outcomes.targets.tolist() == [[1, 1]] * 3
    assert len(outcomes.confidence) > 10
    assert (np.diff(outcomes.confidence) <= 0).all()
    assert outcomes.image.max() < 3
    assert outcomes.label.max() < 2
