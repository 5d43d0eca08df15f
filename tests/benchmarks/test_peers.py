"""Peers compute the same attention by the padding trick. flex_attention has no backward pass on a CPU."""

from __future__ import annotations

import sys

import pytest
import torch

from acmix_exp.ops import reflected_window_attention
from benchmarks import peers
from tests.ops.check import random_inputs


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention() -> None:
    inputs = random_inputs(2, 2, 16, 9, 7, dtype=torch.float32)
    actual = peers.flex(9, 7, 5, 2, "cpu")(*inputs)
    expected = reflected_window_attention(*inputs, kernel_size=5, heads=2, backend="reference")
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_natten_says_that_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natten", None)
    peers._na2d.cache_clear()
    with pytest.raises(peers.Unavailable, match="natten is not installed"):
        peers.natten(7, 4)
