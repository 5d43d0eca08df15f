"""What a run keeps of its evaluation is what ultralytics scored, figure for figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import ConfusionMatrix

from acmix_exp.data import Dataset
from acmix_exp.outcomes import CONFUSION_CONFIDENCE, CONFUSION_IOU, Outcomes, unpack
from acmix_exp.report.confusion import confusion_matrix
from acmix_exp.report.object_sizes import matches_by_size
from acmix_exp.run.replicates import mean_average_precision
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from tests.report.test_object_sizes import recorded
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
            ranked = pred["conf"].argsort(descending=True, stable=True)  # as NMS returns them
            pred |= {key: pred[key][ranked] for key in ("bboxes", "cls", "conf")}
        score(self, preds, batch)

    monkeypatch.setattr(DetectionValidator, "update_metrics", update_metrics)


@pytest.fixture
def matrices(near_the_truth: None, monkeypatch: pytest.MonkeyPatch) -> list[ConfusionMatrix]:
    """The confusion matrices that ultralytics makes of the same predictions."""
    made: list[ConfusionMatrix] = []

    def init_metrics(self: DetectionValidator, model: Any) -> None:
        start(self, model)
        made.append(ConfusionMatrix(names=dict(model.names)))

    def process_batch(self: DetectionValidator, preds: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        boxes = {key: preds[key] for key in ("bboxes", "conf", "cls")}  # the fixture adds no "extra"
        made[-1].process_batch(boxes, batch, conf=CONFUSION_CONFIDENCE, iou_thres=CONFUSION_IOU)
        return dict(process(self, preds, batch))

    start, process = DetectionValidator.init_metrics, DetectionValidator._process_batch
    monkeypatch.setattr(DetectionValidator, "init_metrics", init_metrics)
    monkeypatch.setattr(DetectionValidator, "_process_batch", process_batch)
    return made


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_confusion_matrix_is_that_of_ultralytics(
    trained: Any, dataset: Dataset, tmp_path: Path, split: str, matrices: list[ConfusionMatrix]
) -> None:
    path = tmp_path / "outcomes.npz"
    evaluate_checkpoint(trained[2] / "weights" / "best.pt", dataset, split, make_config(), "cpu", outcomes=path)
    outcomes = Outcomes.load(path)
    matrix = confusion_matrix(outcomes)
    assert matrix.tolist() == matrices[-1].matrix.astype(int).tolist()
    assert (matrix.diagonal()[:2] > 0).all()
    assert matrix[2, :2].sum() + matrix[:2, 2].sum() > 0
    assert np.array_equal(matches_by_size(outcomes, outcomes.boxes)[0][:, 0], unpack(outcomes.matches))
    with pytest.raises(ValueError, match="at least"):
        confusion_matrix(outcomes, 0.1)


def test_a_network_of_equals_confuses_classes(tmp_path: Path) -> None:
    """Boxes of one class are found as the other, and claimed whatever their class."""
    image = {
        "boxes": np.array([[0, 0, 40, 40], [100, 100, 140, 140], [300, 300, 340, 340]], np.float32),
        "label": np.array([0, 1, 1]),
        "found_boxes": np.array([[1, 1, 41, 41], [0, 0, 40, 40], [101, 100, 141, 140], [500, 0, 540, 40]], np.float32),
        "found": np.array([1, 0, 1, 0]),
        "confidence": np.array([0.9, 0.8, 0.7, 0.6], np.float32),
    }
    assert confusion_matrix(recorded([image], classes=2)).tolist() == [[0, 0, 2], [1, 1, 0], [0, 1, 0]]


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
    boxes = outcomes.boxes
    assert boxes.target_image.tolist() == [0, 0, 1, 1, 2, 2]
    assert boxes.target_label.tolist() == [0, 1] * 3
    assert boxes.target_size.tolist() == [1] * 6
    assert len(boxes.size) == len(outcomes.confidence)
    assert np.load(run_dir / "outcomes.npz")["version"] == 2
