"""The composed convolution against the published two steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acmix_exp.ops.shift_convolution import compose, shift_convolution, shift_convolution_reference


def inputs(heads: int, d: int, kernel: int, height: int, width: int, outputs: int | None = None) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (2, 3 * heads, d, height, width),
        (kernel**2, 3 * heads, 1, 1),
        (d * (outputs or heads), kernel**2, kernel, kernel),
    ]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 8)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_equals_the_two_steps(size: tuple[int, int], kernel: int, stride: int) -> None:
    tensors = inputs(2, 4, kernel, *size)
    results = []
    for function in (shift_convolution, shift_convolution_reference):
        out = function(*tensors, stride)
        assert out.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))
        weight = torch.cos(torch.arange(out.numel(), dtype=torch.float64)).view(out.shape)
        results.append([out, *torch.autograd.grad(out, tensors, weight)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("heads", "d"), [(1, 1), (1, 12), (2, 5), (4, 3), (4, 6), (8, 2), (3, 4)])
def test_any_number_of_heads(heads: int, d: int) -> None:
    """Groups are merged by whole numbers only, and with or without gradients the result is the same."""
    tensors = inputs(heads, d, 3, 5, 4)
    expected = shift_convolution_reference(*tensors)
    torch.testing.assert_close(shift_convolution(*tensors), expected)
    with torch.no_grad():
        torch.testing.assert_close(shift_convolution(*tensors), expected)


def test_composed_weights_are_small() -> None:
    _, fc, dep = inputs(4, 8, 3, 1, 1)
    assert compose(fc, dep).shape == (32, 12, 3, 3)
