"""D-LKA: sizes, options and refusals. Outputs and gradients: tests/test_golden.py, tests/nn/test_fit_for_use.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acmix_exp.nn import build_block
from acmix_exp.nn.dlka import DeformableConv


@pytest.mark.parametrize(
    ("form", "offsets", "channels", "parameters"),
    [
        ("unit", "dense", 64, 396372),
        ("unit", "dense", 256, 1634196),
        ("residual", "light", 64, 28316),
        ("residual", "light", 128, 79580),
    ],
)
def test_parameters(form: str, offsets: str, channels: int, parameters: int) -> None:
    block = build_block("dlka", channels, form=form, offsets=offsets)
    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


@pytest.mark.parametrize("offsets", ["dense", "light"])
def test_zero_offsets_start_as_a_plain_convolution(offsets: str) -> None:
    conv = DeformableConv(3, 7, dilation=3, offsets=offsets, zero_offsets=True).double()
    x = torch.randn(2, 3, 8, 11, dtype=torch.float64)
    plain = F.conv2d(x, conv.deform_conv.weight, padding=9, dilation=3, groups=3)
    torch.testing.assert_close(conv(x), plain, rtol=0, atol=1e-12)


def test_offsets_are_limited() -> None:
    torch.manual_seed(0)
    conv = DeformableConv(1, 1, max_offset=0.5).double()
    with torch.no_grad():
        conv.offset_net.bias.fill_(100.0)  # type: ignore[union-attr]
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    corners = x[:, :, :-1, :-1] + x[:, :, :-1, 1:] + x[:, :, 1:, :-1] + x[:, :, 1:, 1:]
    torch.testing.assert_close(conv(x)[:, :, :-1, :-1], corners / 4 * conv.deform_conv.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offsets": "none"}, "offsets must be one of dense, light, got 'none'"),
        ({"max_offset": 0.0}, "max_offset must be above 0 or null, got 0.0"),
        ({"form": "bare"}, "form must be one of unit, residual, block, got 'bare'"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block("dlka", 4, **options)
