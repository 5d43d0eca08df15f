"""The reference backend against the definition."""

from __future__ import annotations

from functools import partial

import pytest

from acmix_exp.ops.window_attention import reflected_window_attention
from tests.ops import loop_reference
from tests.ops.tolerances import assert_all_close, random_inputs, with_gradients

CASES = [
    # B, heads, d, H, W, kernel, stride, dilation
    (1, 1, 4, 1, 1, 7, 1, 1),
    (2, 2, 3, 2, 2, 5, 1, 1),
    (1, 2, 4, 5, 4, 3, 1, 1),
    (1, 4, 2, 5, 4, 9, 2, 1),
    (2, 1, 5, 6, 3, 3, 3, 2),
    (1, 2, 4, 7, 13, 7, 1, 1),
    (1, 2, 4, 7, 5, 5, 1, 3),
    (1, 3, 2, 4, 4, 1, 2, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "B{}-h{}-d{}-{}x{}-k{}-s{}-D{}".format(*c))
def test_reference_is_the_definition(case: tuple[int, ...]) -> None:
    batch, heads, d, height, width, kernel, stride, dilation = case
    inputs = random_inputs(batch, heads, d, height, width)
    options = {"kernel_size": kernel, "heads": heads, "stride": stride, "dilation": dilation}
    expected = with_gradients(partial(loop_reference.window_attention, **options), inputs)
    actual = with_gradients(partial(reflected_window_attention, **options, backend="reference"), inputs)
    assert_all_close(actual, expected, 1e-12)


def test_reference_scale_and_no_position() -> None:
    *inputs, _ = random_inputs(2, 2, 3, 5, 4)
    options = {"kernel_size": 3, "heads": 2, "scale": 0.2}
    expected = with_gradients(partial(loop_reference.window_attention, weight=None, **options), inputs)
    actual = with_gradients(partial(reflected_window_attention, **options, backend="reference"), inputs)
    assert_all_close(actual, expected, 1e-12)
