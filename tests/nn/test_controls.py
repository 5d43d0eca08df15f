"""The blocks of the control arms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn import build_block
from acmix_exp.nn.controls import matched_hidden, size_of
from acmix_exp.nn.stand_in import operations


def test_identity_returns_the_same_tensor() -> None:
    block = build_block("identity", 8)
    x = torch.randn(2, 8, 5, 6)
    assert block(x) is x
    assert not block.state_dict()
    assert block.flops(5, 6) == 0


def test_conv3x3_is_a_plain_convolution_with_its_operations() -> None:
    block = build_block("conv3x3", 8)
    x = torch.randn(1, 8, 5, 6)
    torch.testing.assert_close(block(x), F.conv2d(x, block.weight, padding=1))
    assert list(block.state_dict()) == ["weight"]
    with FlopCounterMode(display=False) as counter:
        block(x)
    assert block.flops(5, 6) == counter.get_total_flops()


def test_join_is_identity_by_another_name() -> None:
    block = build_block("join", 8)
    x = torch.randn(2, 8, 5, 6)
    assert block(x) is x
    assert not block.state_dict()


@pytest.mark.parametrize(("channels", "hidden", "expected"), [(8, None, 4), (1, None, 1), (8, 3, 3)])
def test_conv3x3_matched_is_a_convolution_and_back(channels: int, hidden: int | None, expected: int) -> None:
    block = build_block("conv3x3_matched", channels, hidden=hidden)
    x = torch.randn(1, channels, 5, 6)
    torch.testing.assert_close(block(x), F.conv2d(F.conv2d(x, block.conv.weight, padding=1), block.project.weight))
    assert sum(p.numel() for p in block.parameters()) == 10 * channels * expected
    with FlopCounterMode(display=False) as counter:
        block(x)
    assert block.flops(5, 6) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("match", "channels", "side", "hidden"),
    [("parameters", 128, 40, 47), ("parameters", 256, 20, 85), ("flops", 128, 40, 59), ("flops", 256, 20, 97)],
)
def test_the_width_that_matches_acmix(match: str, channels: int, side: int, hidden: int) -> None:
    size = size_of(build_block("acmix", channels), match, channels, side, side)
    assert matched_hidden(size, match, channels, side, side) == hidden


@pytest.mark.parametrize("match", ["parameters", "flops"])
def test_the_width_is_the_nearest_and_at_least_1(match: str) -> None:
    for name in ("ema", "lska", "hat", "sea_attention", "conv3x3"):
        size = size_of(build_block(name, 64), match, 64, 20, 20)
        hidden = matched_hidden(size, match, 64, 20, 20)
        found = [
            abs(size_of(build_block("conv3x3_matched", 64, hidden=h), match, 64, 20, 20) - size)
            for h in (max(1, hidden - 1), hidden, hidden + 1)
        ]
        assert found[1] == min(found)
    assert matched_hidden(1, match, 64, 20, 20) == 1


def test_the_operations_of_a_block_without_a_count_of_its_own() -> None:
    block = nn.Sequential(nn.Conv2d(8, 2, 1), build_block("acmix", 2, head=1), nn.Conv2d(2, 8, 1))
    inner = build_block("acmix", 2, head=1).flops(6, 7)
    assert operations(block, 8, 6, 7) == 2 * 2 * 8 * 2 * 6 * 7 + inner
