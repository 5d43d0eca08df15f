"""The tile plan: every tap among the keys of its span, every query covered once, exact multiplicities."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from acmix_exp.ops.window_attention.tiling import Axis, choose_tile, strips
from tests.ops.loop_reference import reflected

AXES = [Axis(*a) for a in product([1, 2, 3, 7, 12, 25], [1, 3, 7, 9], [1, 2, 3], [1, 2, 3])]


@pytest.mark.parametrize("step", [1, 3, 8])
def test_keys_of_a_span_hold_all_taps(step: int) -> None:
    for axis in AXES:
        margin = axis.kernel // 2 * axis.dilation
        source = reflected(axis.pixels, margin)
        covered = []
        for span in axis.cut(step):
            count = axis.log_count(span, torch.float64, torch.device("cpu")).exp()
            for row, query in enumerate(range(span.start, span.stop)):
                covered.append(query)
                expected = torch.zeros(axis.pixels, dtype=torch.float64)
                for tap in range(axis.kernel):
                    expected[source[query * axis.stride + tap * axis.dilation]] += 1
                actual = torch.zeros_like(expected)
                actual[span.key : span.key + span.size] = count[row]
                torch.testing.assert_close(actual, expected)
        assert covered == list(range(-(-axis.pixels // axis.stride)))


@pytest.mark.parametrize("width", [1, 4, 5, 7, 30])
def test_strips_of_a_set_have_equal_sizes(width: int) -> None:
    axis = Axis(23, 7, 2, 1)
    groups = strips(axis, width)
    spans = [span for group in groups for span in group.spans]
    assert [q for span in spans for q in range(span.start, span.stop)] == list(range(12))
    for group in groups:
        assert {(span.stop - span.start, span.size) for span in group.spans} == {(group.width, group.keys)}


@pytest.mark.parametrize(
    ("pixels", "whole_rows"), [(6, True), (10, True), (20, True), (80, False)], ids=lambda n: str(n)
)
def test_small_maps_are_not_cut_into_strips(pixels: int, whole_rows: bool) -> None:
    axis = Axis(pixels, 7, 1, 1)
    height, width = choose_tile(axis, axis, 16, 4, 32)
    assert (width == pixels) is whole_rows
    assert 1 <= height <= pixels
