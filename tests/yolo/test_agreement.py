"""Differences of predictions in float32, by the largest, and in lower precisions, by what is confident."""

from __future__ import annotations

import math

import pytest
import torch

from acmix_exp.yolo.agreement import (
    Difference,
    dense_difference,
    limits,
    listed_difference,
    queries_to_list,
    suppressed_difference,
)

STRIDES = [8, 16, 32]
SIZE = (32, 96)  # pixels: 48 + 12 + 3 anchors


def dense(precision: str, **values: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction of two classes with one confident box, and a copy."""
    right = torch.zeros(1, 6, 63)
    right[0, 2:4] = 10
    right[0, 4, 5] = 0.9
    return right, right.clone()


def test_boxes_count_in_cells_of_their_own_grid() -> None:
    right = torch.zeros(2, 6, 63)
    output = right.clone()
    output[0, 3, 47] = 8e-3  # the last anchor of stride 8
    output[1, 0, 48] = -8e-3  # the first of stride 16
    output[1, 5, 62] = 5e-4
    found = dense_difference([right], [output], *SIZE, STRIDES, 2, "fp32")
    assert (found.boxes_px, found.boxes, found.scores) == pytest.approx((8e-3, 1e-3, 5e-4))
    assert (found.images, found.compared) == (2, 126)


def test_a_lower_precision_is_judged_by_what_is_confident() -> None:
    right, output = dense("int8")
    output[0, :2, 40] += 50  # a box without confidence
    found = dense_difference([right], [output], *SIZE, STRIDES, 2, "int8")
    assert (found.boxes_px, found.boxes, found.scores) == pytest.approx((50, 0, 0))
    output[0, 0, 5] += 5  # half of its width: IoU 1/3
    output[0, 4, 5] -= 0.3
    found = dense_difference([right], [output], *SIZE, STRIDES, 2, "int8")
    assert (found.boxes, found.scores) == pytest.approx((2 / 3, 0.3), rel=1e-4)
    ordered = [limits(precision, "detect")["boxes"] for precision in ("fp32", "fp16", "int8")]
    assert ordered == sorted(ordered)
    assert found.boxes > ordered[-1]
    assert limits("w8a16", "detect") == limits("int8", "detect")
    assert list(limits("fp32", "segment")) == ["boxes", "scores", "others"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_masks_keypoints_and_angles_count_too(precision: str) -> None:
    right, output = torch.zeros(1, 8, 63), torch.zeros(1, 8, 63)  # two values of each prediction besides
    right[0, 4, 5] = output[0, 4, 5] = 0.9
    maps = torch.full((1, 32, 8, 24), 10.0)
    same = dense_difference([right, maps], [output, maps], *SIZE, STRIDES, 2, precision)
    assert (same.boxes, same.scores, same.others) == (0, 0, 0)
    output[0, 6, 5] = 0.5
    found = dense_difference([right, maps], [output, maps], *SIZE, STRIDES, 2, precision)
    assert (found.scores, found.others) == pytest.approx((0, {"fp32": 0.5, "int8": 0.25}[precision]))
    found = dense_difference([right, maps], [right, maps + 4], *SIZE, STRIDES, 2, precision)
    assert found.others == pytest.approx(0.4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nan_is_no_agreement(precision: str) -> None:
    for row in (0, 5):
        right, output = dense(precision)
        output[0, row, 9] = float("nan")
        assert math.isnan(dense_difference([right], [output], *SIZE, STRIDES, 2, precision).boxes)


def test_another_number_of_anchors_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 6, 60\) at 32x96, not \(1, 6, 63\)"):
        dense_difference([torch.zeros(1, 6, 63)], [torch.zeros(1, 6, 60)], *SIZE, STRIDES, 2, "fp32")


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([values])


def queries(right: torch.Tensor, output: torch.Tensor) -> Difference:
    one, other = (queries_to_list(each, 64, 128) for each in (right, output))
    return listed_difference(one, other, 64, 128, "fp32")


def test_queries_are_compared_whatever_their_order() -> None:
    right = rows((0.5, 0.5, 0.1, 0.2, 0.9, 1), (0.2, 0.2, 0.1, 0.1, 0.9, 1), (0.7, 0.7, 0.1, 0.1, 0.1, 0))
    same = queries(right, right[:, [1, 0, 2]])
    assert (same.boxes_px, same.scores) == (0, 0)
    moved = right.clone()
    moved[0, 0, 0] += 0.01  # of 128 pixels
    moved[0, 1, 4] -= 0.001
    moved[0, 2, :2] = 0.1  # one of the lowest scores
    found = queries(right, moved)
    assert (found.boxes_px, found.boxes, found.scores) == pytest.approx((1.28, 0.04, 0.001), rel=1e-3)
    other_class = right.clone()
    other_class[0, 0, 5] = 0
    assert queries(right, other_class).boxes > 1
    other_class[0, 0, 1] = float("nan")
    assert math.isnan(queries(right, other_class).boxes)


def test_boxes_after_suppression() -> None:
    right = rows((0, 0, 10, 10, 0.9, 1), (20, 0, 30, 10, 0.2500001, 0), (0, 0, 0, 0, 0, 0))
    output = rows((0, 0, 10, 10, 0.9, 1), (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0))  # one at the cut is not there
    found = listed_difference(right, output, 32, 32, "fp32", 0.25)
    assert (found.boxes, found.scores, found.compared) == (0, 0, 2)  # the first, seen from both sides
    lost = listed_difference(right, torch.zeros_like(right), 32, 32, "int8", 0.25)
    assert (lost.boxes, lost.scores) == pytest.approx((1, 0.9))
    assert listed_difference(output * 0, output * 0, 32, 32, "fp16", 0.25).compared == 0


def test_which_of_two_equal_boxes_suppresses_the_other_does_not_count() -> None:
    raw = torch.tensor([[[0, 1, 50], [0, 1, 50], [10, 11, 60], [10, 11, 60], [0.9, 0.9, 0.5], [0.0, 0, 0]]])
    first, second = rows((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.5, 0)), rows((50, 50, 60, 60, 0.5, 0), (0,) * 6)
    second[0, 1] = torch.tensor((1, 1, 11, 11, 0.9, 0))
    found = suppressed_difference(first, second, raw, 64, 64, 0.25)
    assert (found.boxes, found.scores, found.compared) == (0, 0, 2)
    second[0, 1, 4] = 0.8
    assert suppressed_difference(first, second, raw, 64, 64, 0.25).scores == pytest.approx(0.1)
    second[0, 1] = 0
    assert math.isinf(suppressed_difference(first, second, raw, 64, 64, 0.25).boxes)  # one is lost
