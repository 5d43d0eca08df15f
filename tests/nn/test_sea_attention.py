"""The parts of SEA that replace torch functions, against these functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acmix_exp.nn.layers import linear_resampling
from acmix_exp.nn.sea_attention import axis_attention


@pytest.mark.parametrize("n", [1, 2, 7, 16, 20, 80])
def test_resampling_is_linear_interpolation(n: int) -> None:
    positions = torch.randn(1, 3, 16, dtype=torch.float64)
    expected = F.interpolate(positions, size=n, mode="linear", align_corners=False)
    torch.testing.assert_close(positions @ linear_resampling(16, n, positions), expected, rtol=1e-12, atol=1e-12)


def test_resampling_is_computed_in_float32_at_least() -> None:
    assert linear_resampling(16, 5, torch.zeros(1, dtype=torch.float16)).dtype == torch.float32


def test_the_products_are_scaled_dot_product_attention() -> None:
    query, key, value = (torch.randn(2, 3, width, 9, dtype=torch.float64) for width in (4, 4, 6))
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]
    expected = F.scaled_dot_product_attention(*(tensor.transpose(2, 3) for tensor in inputs)).transpose(2, 3)
    out = axis_attention(*inputs)
    torch.testing.assert_close(out, expected)
    ours, theirs = (torch.autograd.grad(each.square().sum(), inputs) for each in (out, expected))
    torch.testing.assert_close(ours, theirs)
