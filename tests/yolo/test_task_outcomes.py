"""What a run of another task than detection keeps of its evaluation is what ultralytics scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionValidator

from acmix_exp import model_tasks
from acmix_exp.outcomes import Outcomes
from acmix_exp.run.replicates import mean_average_precision
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from acmix_exp.yolo.model import build_model
from tests.yolo.task_sets import TASKS, make_task_set, task_config


@pytest.fixture
def near_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shifted copies of the truth in place of what the untrained network finds."""
    random = torch.Generator().manual_seed(0)
    score = DetectionValidator.update_metrics

    def shifted(key: str, value: torch.Tensor, shift: int) -> torch.Tensor:
        if key == "masks":
            return value.roll(shift // 2, -1).to(torch.uint8)
        moved = value.clone().float()
        moved[..., :2] += shift * torch.rand(*value.shape[:-1], 2, generator=random)
        return moved

    def update_metrics(self: DetectionValidator, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        for index, pred in enumerate(preds):
            truth, keys = self._prepare_batch(index, batch), pred.keys() - {"conf", "cls"}
            parts = {key: [shifted(key, truth[key], shift) for shift in (1, 4, 8)] for key in keys}
            pred |= {key: torch.cat(values) for key, values in parts.items()}
            pred["cls"] = truth["cls"].repeat(3)
            pred["conf"] = torch.rand(len(pred["cls"]), generator=random)
            ranked = pred["conf"].argsort(descending=True)
            pred |= {key: value[ranked] for key, value in pred.items()}
        score(self, preds, batch)

    monkeypatch.setattr(DetectionValidator, "update_metrics", update_metrics)


@pytest.mark.usefixtures("near_the_truth")
@pytest.mark.parametrize("task", TASKS)
def test_the_resampled_figure_is_that_of_ultralytics(tmp_path: Path, task: str) -> None:
    dataset, config, path = make_task_set(tmp_path, task), task_config(task), tmp_path / "outcomes.npz"
    shape = dataset.keypoints and [dataset.keypoints.count, dataset.keypoints.values]
    model = build_model(config, nc=4, kpt_shape=shape)
    model.names = dict(dataset.names)
    torch.save({"model": model}, tmp_path / "last.pt")
    metrics = evaluate_checkpoint(tmp_path / "last.pt", dataset, "val", config, "cpu", outcomes=path)
    outcomes = Outcomes.load(path)
    (value,) = mean_average_precision(outcomes, np.ones((1, len(outcomes.images)), int))
    assert 0.05 < metrics["map50_95"] < 0.95
    assert value[0] == pytest.approx(metrics["map50"], abs=1e-6)
    assert value.mean() == pytest.approx(metrics["map50_95"], abs=1e-6)
    assert (metrics["task"], metrics["metric"]) == (task, model_tasks.TASKS[task].headline)
    assert ("box" in metrics) == (task != "obb")
    assert task == "obb" or metrics["box"]["map50_95"] != metrics["map50_95"]
    assert outcomes.boxes is not None
    assert len(outcomes.boxes.pair_iou) > 0
    assert set(outcomes.boxes.target_size.tolist()) <= {1, 2, 3}  # small and medium: shapes have 20 to 80 pixels
