"""What a run of another task than detection keeps of its evaluation is what ultralytics scored."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionValidator

from acmix_exp import model_tasks
from acmix_exp.data import read_split
from acmix_exp.data.yolo_layout import read_data_yaml
from acmix_exp.outcomes import Outcomes
from acmix_exp.run.replicates import mean_average_precision
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from acmix_exp.yolo.model import build_model
from tests.example_sets import coco8_pose, coco8_seg, dota8
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
            if len(truth["cls"]):
                parts = {key: [shifted(key, truth[key], shift) for shift in (1, 4, 8)] for key in keys}
                pred |= {key: torch.cat(values) for key, values in parts.items()}
            else:  # found where there is nothing
                pred |= {key: pred[key].new_ones((3, *pred[key].shape[1:])) for key in keys}
            pred["cls"] = truth["cls"].repeat(3) if len(truth["cls"]) else torch.zeros(3)
            pred["conf"] = torch.rand(len(pred["cls"]), generator=random)
            ranked = pred["conf"].argsort(descending=True)
            pred |= {key: value[ranked] for key, value in pred.items()}
        score(self, preds, batch)

    monkeypatch.setattr(DetectionValidator, "update_metrics", update_metrics)


CASES = {  # the task, what makes the data set, and arguments of ultralytics
    **{f"shapes for {task}": (task, None, {}) for task in TASKS},
    "coco8-seg": ("segment", coco8_seg, {}),
    "coco8-seg, finer masks": ("segment", coco8_seg, {"mask_ratio": 2}),
    "coco8-seg, masks apart": ("segment", coco8_seg, {"overlap_mask": False}),
    "coco8-pose": ("pose", coco8_pose, {}),
    "coco8-pose of x and y": ("pose", partial(coco8_pose, values=2), {}),
    "dota8": ("obb", dota8, {}),
}
SLOW = ("coco8-seg", "coco8-seg, masks apart", "coco8-pose", "coco8-pose of x and y", "dota8")


@pytest.mark.usefixtures("near_the_truth")
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else []) for case in CASES]
)
def test_the_resampled_figure_is_that_of_ultralytics(tmp_path: Path, case: str) -> None:
    task, make, extra = CASES[case]
    dataset = read_data_yaml(make(tmp_path), task=task) if make else make_task_set(tmp_path, task)
    config, path = task_config(task, train__extra=extra, train__imgsz=128), tmp_path / "outcomes.npz"
    shape = dataset.keypoints and [dataset.keypoints.count, dataset.keypoints.values]
    model = build_model(config, nc=len(dataset.names), kpt_shape=shape)
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
    assert len(outcomes.boxes.target_size) == sum(len(sample.boxes) for sample in read_split(dataset, "val"))
    if make is None:
        assert set(outcomes.boxes.target_size.tolist()) <= {1, 2, 3}  # small and medium: shapes have 20 to 80 pixels
