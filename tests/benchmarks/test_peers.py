"""Peers compute the same attention on padded maps. flex_attention has no backward pass on a CPU."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from torch import Tensor

from acmix_exp.ops import reflected_window_attention
from benchmarks import peers
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention() -> None:
    inputs = random_inputs(2, 2, 16, 9, 7, dtype=torch.float32)
    actual = peers.flex(9, 7, 5, 2, "cpu")(*inputs)
    expected = reflected_window_attention(*inputs, kernel_size=5, heads=2, backend="reference")
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def neighbourhood_attention(query: Tensor, key: Tensor, value: Tensor, kernel_size: int) -> Tensor:
    """What NATTEN computes, (B, H, W, heads, d) each: at the border the window is pushed back into the map."""
    out = torch.empty_like(query)
    height, width = query.shape[1:3]
    for y in range(height):
        for x in range(width):
            top, left = (
                min(max(at - kernel_size // 2, 0), size - kernel_size) for at, size in ((y, height), (x, width))
            )
            k, v = (t[:, top : top + kernel_size, left : left + kernel_size].flatten(1, 2) for t in (key, value))
            weights = torch.einsum("bhd,bnhd->bhn", query[:, y, x], k) * query.shape[-1] ** -0.5
            out[:, y, x] = torch.einsum("bhn,bnhd->bhd", weights.softmax(-1), v)
    return out


@pytest.mark.parametrize("size", [(9, 7), (3, 4)], ids=str)
def test_natten_on_padded_maps(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_na2d", lambda: neighbourhood_attention)
    inputs = random_inputs(2, 2, 3, *size)
    actual = with_gradients(peers.natten(5, 2), inputs)
    expected = with_gradients(partial(reflected_window_attention, kernel_size=5, heads=2, backend="reference"), inputs)
    assert_all_close(actual, expected, TOLERANCE[torch.float64])


def test_natten_if_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natten", None)
    peers._na2d.cache_clear()
    with pytest.raises(peers.Unavailable, match="natten is not installed"):
        peers.natten(7, 4)
