"""Partial convolution: the first channels are convolved, the others pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.ops.checks import check_odd, check_positive


class PConv(nn.Module):
    """``[conv(x_1), x_2]``, with the first C / n_div channels in x_1: (B, C, H, W) -> (B, C, H, W), any size.

    The convolution is dense and has no bias.

    Args:
        channels: C.
        n_div: divides C into the convolved channels; 1: all of them.
        kernel_size: odd.

    Raises:
        ValueError: unless ``n_div`` divides ``channels``.

    Source: Chen et al., Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks (FasterNet), CVPR 2023,
    section 3.2, which takes a quarter of the channels.
    """

    def __init__(self, channels: int, n_div: int = 4, kernel_size: int = 3) -> None:
        super().__init__()
        check_positive(channels=channels, n_div=n_div)
        check_odd(kernel_size=kernel_size)
        if channels % n_div:
            raise ValueError(f"n_div must divide the {channels} channels, got {n_div}")
        part = channels // n_div
        self.passed = channels - part
        self.conv = nn.Conv2d(part, part, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.passed:
            convolved: Tensor = self.conv(x)
            return convolved
        first, others = x.split([self.conv.in_channels, self.passed], 1)
        return torch.cat([self.conv(first), others], 1)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width."""
        return 2 * self.conv.weight.numel() * height * width
