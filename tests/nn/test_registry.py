"""Blocks by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from acmix_exp.nn import ACmix, block_names, build_block, register, registry


def test_acmix_by_name() -> None:
    block = build_block("acmix", 8, kernel_att=3, head=2, kernel_conv=1, path="conv", backend="tile")
    assert isinstance(block, ACmix)
    assert (block.in_planes, block.out_planes, block.kernel_att, block.path) == (8, 8, 3, "conv")


@pytest.mark.parametrize("name", block_names())
def test_blocks_keep_the_size(name: str) -> None:
    x = torch.randn(2, 8, 5, 6)
    assert build_block(name, 8)(x).shape == x.shape


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^block must be one of acmix.*, got 'acmax'$"):
        build_block("acmax", 8)


@pytest.mark.parametrize("option", ["kernel", "in_planes", "out_planes", "stride", "self"])
def test_unknown_option(option: str) -> None:
    with pytest.raises(ValueError, match=rf"^block acmix has no option '{option}'; it has kernel_att, .*backend$"):
        build_block("acmix", 8, **{option: 3})


def test_an_error_of_the_block_is_raised() -> None:
    with pytest.raises(ValueError, match="kernel_att must be odd, got 4"):
        build_block("acmix", 8, kernel_att=4)


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register("pointwise", lambda channels, bias=True: nn.Conv2d(channels, channels, 1, bias=bias))
    block = build_block("pointwise", 3, bias=False)
    assert isinstance(block, nn.Conv2d)
    assert block.bias is None
    with pytest.raises(ValueError, match="registered already"):
        register("acmix", nn.Identity)
