"""The blocks of the control arms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn import build_block


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
