"""LSKA: sizes, start and refusals. Outputs and gradients: tests/test_golden.py, tests/nn/test_fit_for_use.py."""

from __future__ import annotations

import pytest
import torch

from acmix_exp.nn import build_block
from acmix_exp.nn.lska import LSKA, STRIPS, LSKABlock


@pytest.mark.parametrize(
    ("form", "channels", "parameters"),
    [("unit", 64, 5952), ("unit", 256, 72960), ("residual", 128, 53120), ("block", 64, 50304), ("block", 128, 190720)],
)
def test_parameters(form: str, channels: int, parameters: int) -> None:
    block = build_block("lska", channels, form=form)
    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


@pytest.mark.parametrize("kernel_size", STRIPS)
def test_the_gate_sees_a_square_around_each_pixel(kernel_size: int) -> None:
    block = LSKA(1, kernel_size)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(1.0)
    side = kernel_size + 12
    x = torch.ones(1, 1, side, side, requires_grad=True)
    block(x)[0, 0, side // 2, side // 2].backward()
    assert x.grad is not None
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    plain, dilated, dilation = STRIPS[kernel_size]
    assert rows.max() - rows.min() == plain - 1 + dilation * (dilated - 1)
    assert torch.equal(x.grad, x.grad.transpose(2, 3))


def test_dropped_paths_leave_the_input() -> None:
    torch.manual_seed(0)
    block = LSKABlock(4, 7, drop_path=0.5).train()
    x = torch.randn(32, 4, 5, 5)
    same = (block(x) == x).flatten(1).all(1)
    assert 0 < same.sum() < 32
    assert not torch.equal(block.eval()(x), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 9}, "kernel_size must be one of 7, 11, 23, 35, 41, 53, got 9"),
        ({"form": "bare"}, "form must be one of unit, residual, block, got 'bare'"),
        ({"form": "block", "mlp_ratio": 0.1}, "mlp_ratio must give 4 channels at least one hidden channel, got 0.1"),
        ({"form": "block", "drop_path": 1.0}, "drop_path must be from 0, below 1, got 1.0"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block("lska", 4, **options)
