"""Depthwise deformable convolution by sampling, against torchvision's operator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acmix_exp.ops import deformable_convolution
from acmix_exp.ops.deformable_convolution import (
    deformable_depthwise,
    deformable_depthwise_reference,
    deformable_depthwise_sampled,
)
from tests.ops.tolerances import assert_close, with_gradients

NAMES = ("out", "grad x", "grad offset", "grad weight")
CASES = [
    pytest.param(2, 3, 6, 5, 3, 1, id="B2-C3-6x5-k3-d1"),
    pytest.param(1, 4, 7, 13, 5, 1, id="B1-C4-7x13-k5-d1"),
    pytest.param(1, 2, 4, 3, 7, 3, id="B1-C2-4x3-k7-d3"),
    pytest.param(1, 3, 1, 1, 5, 1, id="B1-C3-1x1-k5-d1"),
    pytest.param(2, 1, 1, 6, 7, 3, id="B2-C1-1x6-k7-d3"),
]


def inputs(batch: int, channels: int, height: int, width: int, k: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, channels, height, width), (batch, 2 * k * k, height, width), (channels, 1, k, k))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize(("batch", "channels", "height", "width", "k", "dilation"), CASES)
def test_sampled_matches_torchvision(
    batch: int, channels: int, height: int, width: int, k: int, dilation: int, rows: int
) -> None:
    tensors = inputs(batch, channels, height, width, k, torch.float64)
    padding = dilation * (k - 1) // 2
    actual = with_gradients(lambda *t: deformable_depthwise_sampled(*t, padding, dilation, rows), tensors)
    expected = with_gradients(lambda *t: deformable_depthwise_reference(*t, padding, dilation), tensors)
    for name, a, b in zip(NAMES, actual, expected, strict=True):
        assert_close(name, a, b, 1e-10)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)], ids=str
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    tensors = inputs(1, 3, 8, 9, 3, dtype)
    actual = with_gradients(lambda *t: deformable_depthwise(*t, 1), tensors)
    assert [t.dtype for t in actual] == [dtype] * 4
    expected = with_gradients(lambda *t: deformable_depthwise_reference(*t, 1), [t.double() for t in tensors])
    for name, a, b in zip(NAMES, actual, expected, strict=True):
        assert_close(name, a, b, 4 * tolerance)


def test_positions_are_not_rounded_by_autocast() -> None:
    x, offset, weight = inputs(1, 2, 4, 90, 3, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = deformable_depthwise(x, offset, weight, 1)
    assert_close("out", out, deformable_depthwise_reference(x, offset, weight, 1), 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_takes_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [t.cuda() for t in inputs(2, 4, 7, 6, 5, torch.float32)]
    expected = deformable_depthwise_sampled(*tensors, 2)
    monkeypatch.setattr(deformable_convolution, "deformable_depthwise_sampled", None)
    assert_close("out", deformable_depthwise(*tensors, 2), expected, 1e-5)
