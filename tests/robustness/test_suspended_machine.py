"""Metrics do not depend on how long a machine takes."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import nms

from acmix_exp.yolo.validators import RecordingRTDETRValidator, RecordingValidator, UntimedValidator
from tests.robustness.cases import case


def validator(kind: type[DetectionValidator], folder: Path) -> DetectionValidator:
    made = kind(save_dir=folder, args=get_cfg(overrides={"task": "detect", "conf": 0.001, "iou": 0.7, "max_det": 20}))
    made.end2end, made.nc = False, 3
    return made


@pytest.fixture
def predictions() -> Tensor:
    """Of four images 300 boxes each, [4, 4 + 3 classes, 300]."""
    random = torch.Generator().manual_seed(0)
    boxes = torch.rand(4, 4, 300, generator=random) * torch.tensor([600, 600, 80, 80])[None, :, None] + 10
    return torch.cat([boxes, torch.rand(4, 3, 300, generator=random)], 1)


@pytest.mark.parametrize("kind", [UntimedValidator, RecordingValidator])
def test_the_detections_are_those_of_ultralytics(
    kind: type[DetectionValidator], tmp_path: Path, predictions: Tensor
) -> None:
    stock, ours = (validator(each, tmp_path).postprocess(predictions.clone()) for each in (DetectionValidator, kind))
    assert [len(image["conf"]) for image in ours] == [20] * 4
    for one, other in zip(stock, ours, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@case(
    "Figures and numbers",
    have="a machine that is suspended, or very busy, while images are scored",
    here="every image is scored; ultralytics gives up the rest of a batch after a time by the clock, without an error, "
    "and the metrics are then too low",
)
@pytest.mark.parametrize("kind", [UntimedValidator, RecordingValidator])
def test_a_machine_that_was_suspended_changes_no_metric(
    kind: type[DetectionValidator], tmp_path: Path, predictions: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = validator(kind, tmp_path).postprocess(predictions.clone())
    monkeypatch.setattr(nms, "time", SimpleNamespace(time=itertools.count(0, 3600).__next__))
    stock, ours = (validator(each, tmp_path).postprocess(predictions.clone()) for each in (DetectionValidator, kind))
    assert [len(image["conf"]) for image in stock] == [20, 0, 0, 0], "ultralytics has no time limit any more"
    assert [len(image["conf"]) for image in ours] == [20] * 4
    assert all(torch.equal(one["conf"], other["conf"]) for one, other in zip(expected, ours, strict=True))


def test_a_transformer_has_no_nms() -> None:
    assert RecordingRTDETRValidator.postprocess is RTDETRValidator.postprocess
