"""Predictions in the pictures of other tasks than detection, of either head of YOLO26."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.picture_objects import MOST_BOXES, predictions
from acmix_exp.yolo.report_images import letterbox
from tests.yolo.task_sets import TASKS, task_config, without_blocks

NAMES = {0: "cat", 1: "dog"}
SHAPE = [5, 3]


@pytest.mark.slow
@pytest.mark.parametrize("end2end", [True, False], ids=["NMS-free", "NMS"])
@pytest.mark.parametrize("task", TASKS)
def test_both_heads_of_yolo26(task: str, end2end: bool) -> None:
    torch.manual_seed(0)
    config = without_blocks(task_config(task, model__family="yolo26"))
    model: Any = build_model(config, 2, SHAPE if task == "pose" else None).eval()
    model.end2end = end2end
    for name in ("cv3", "one2one_cv3"):  # confident, so that there are predictions
        for branch in getattr(model.model[-1], name):
            branch[-1].bias.data.copy_(torch.tensor([2.0, -5.0]))
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    boxed = letterbox(image, 128, 32, torch.device("cpu"))
    with torch.no_grad():
        output = model(boxed.pixels)
    found = predictions(output, boxed, NAMES, task, SHAPE, end2end=end2end)
    assert 1 <= len(found) <= MOST_BOXES
    assert {each["class"] for each in found} == {"cat"}
    assert all(("points" if task == "pose" else "polygon") in each for each in found)
    if end2end:
        rows = output[0][0] if task == "segment" else output[0]
        assert [each["confidence"] for each in found] == [round(float(row[4]), 4) for row in rows[0, :MOST_BOXES]]
        x, y = boxed.to_image(float(rows[0, 0, 0]), float(rows[0, 0, 1]))
        if task != "obb":  # whose rows have centres
            assert found[0]["box"][:2] == pytest.approx([min(max(x, 0), 1), min(max(y, 0), 1)], abs=1e-4)
