"""The flattened padded map: taps at their offsets, and no Inf or NaN leaking between the rows of queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch

from acmix_exp.ops.window_attention import reflected_window_attention
from acmix_exp.ops.window_attention.geometry import tap_index
from acmix_exp.ops.window_attention.layout import Layout
from acmix_exp.ops.window_attention.recorded import attend_gathered, attend_unrolled
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients

CASES = list(product([(1, 1), (2, 5), (6, 4), (9, 13)], [1, 3, 7], [1, 2, 3], [1, 2, 3]))


def test_taps_are_the_reflected_window() -> None:
    for size, kernel, stride, dilation in CASES:
        layout = Layout(*size, kernel, stride, dilation)
        image = torch.arange(size[0] * size[1]).double().view(1, 1, 1, *size)
        rows, columns = (tap_index(n, kernel, stride, dilation, image.device) for n in size)
        wide = layout.padded[1]
        for at, tap in enumerate(layout.taps(layout.pad(image))):
            pixels = torch.nn.functional.pad(tap, (0, layout.row_length - layout.used_length)).unflatten(-1, (-1, wide))
            i, j = divmod(at, kernel)
            expected = image[..., rows[:, i], :][..., columns[:, j]]
            assert torch.equal(pixels[..., : layout.queries[1]], expected), (size, kernel, stride, dilation, at)


def test_pad_backward_is_the_adjoint_of_pad() -> None:
    generator = torch.Generator().manual_seed(0)
    for size, kernel, stride, dilation in CASES:
        layout = Layout(*size, kernel, stride, dilation)
        image = torch.randn(2, 3, 2, *size, generator=generator, dtype=torch.float64)
        padded = layout.pad(image)
        row = torch.randn(padded.shape, generator=generator, dtype=torch.float64)
        expected = (padded * row).sum()
        gradient = torch.full_like(image, torch.nan)
        layout.pad_backward(row, gradient)
        torch.testing.assert_close((gradient * image).sum(), expected)


@pytest.mark.parametrize("at_once", [1, 100, 10_000])
def test_blocks_cover_all_heads_once(at_once: int) -> None:
    layout = Layout(3, 4, 3, 1, 1)
    covered = torch.zeros(3, 4, dtype=torch.int64)
    for block in layout.blocks(3, 4, 5, at_once):
        covered[block] += 1
    assert torch.equal(covered, torch.ones_like(covered))


@pytest.mark.parametrize("poisoned", [1, 2], ids=["key", "value"])
def test_infinity_stays_in_its_window_in_gradients_too(poisoned: int) -> None:
    """The first and the last column are neighbours in the row, and far from each other in the map."""
    inputs = random_inputs(1, 1, 2, 7, 8)
    inputs[poisoned][..., 3, 7] = torch.inf
    attend = partial(reflected_window_attention, kernel_size=3, heads=1, backend="shift")
    out, *grads = with_gradients(attend, inputs)
    for tensor in (out, *grads[:3]):
        assert tensor[..., :5].isfinite().all()
    assert not grads[0].isfinite().all()


@pytest.mark.parametrize("form", [attend_gathered, attend_unrolled])
@pytest.mark.parametrize("size", [(1, 1), (6, 9), (16, 17)], ids=str)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 1, 2), (7, 3, 2), (1, 1, 1)])
def test_forms_for_recorded_graphs(
    kernel: int, stride: int, dilation: int, size: tuple[int, int], form: Callable[..., torch.Tensor]
) -> None:
    query, key, value, _ = random_inputs(2, 2, 3, *size)
    maps = [tensor.unflatten(1, (2, 3)) for tensor in (query, key, value)]

    def actual(*tensors: torch.Tensor) -> torch.Tensor:
        return form(*tensors, kernel, stride, dilation)

    def expected(*tensors: torch.Tensor) -> torch.Tensor:
        options = {"kernel_size": kernel, "stride": stride, "dilation": dilation}
        return reflected_window_attention(*tensors, **options, heads=2, scale=1.0, backend="reference")

    assert_all_close(with_gradients(actual, maps), with_gradients(expected, maps), TOLERANCE[torch.float64])
