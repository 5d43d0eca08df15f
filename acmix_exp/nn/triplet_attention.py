"""Triplet attention: three gates, each across two of the axes channel, row and column."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.nn.layers import BatchNorm
from acmix_exp.ops.checks import check_odd, check_positive


class AxisGate(nn.Module):
    """``sigmoid(BN(conv([max, mean])))`` of a pair of pooled maps: (B, 2, H, W) -> (B, 1, H, W)."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn: nn.Module = BatchNorm(1)

    def forward(self, pooled: Tensor) -> Tensor:
        gate: Tensor = self.bn(self.conv(pooled))
        return gate.sigmoid()

    def fuse(self) -> None:
        """Merge the norm into the convolution, in place, for inference."""
        if isinstance(self.bn, BatchNorm):
            self.conv, self.bn = fuse_conv_bn(self.conv, self.bn), nn.Identity()


class TripletAttention(nn.Module):
    """The mean of x gated over (C, W), over (H, C) and over (H, W): (B, C, H, W) -> (B, C, H, W), any size.

    Each gate sees maximum and mean over the third axis and has a kernel_size x kernel_size convolution, a norm and a
    sigmoid; it is constant along that axis.

    Args:
        channels: C, any number.
        kernel_size: odd.

    Source: Misra et al., Rotate to Attend: Convolutional Triplet Attention Module, WACV 2021, section 3.
    """

    def __init__(self, channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        check_positive(channels=channels)
        check_odd(kernel_size=kernel_size)
        self.channels = channels
        self.over_rows = AxisGate(kernel_size)
        self.over_columns = AxisGate(kernel_size)
        self.over_channels = AxisGate(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        # Over the rows: (B, 1, C, W), and so on; each gate is put back where its axis was.
        rows = self.over_rows(_pooled(x, 2)).transpose(1, 2)
        columns = self.over_columns(_pooled(x, 3)).squeeze(1).unsqueeze(3).transpose(1, 2)
        pixels = self.over_channels(_pooled(x, 1))
        return x * ((rows + columns + pixels) / 3)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of the three convolutions for one image of height x width."""
        taps = self.over_rows.conv.weight.numel()
        return 2 * taps * (self.channels * width + height * self.channels + height * width)


def _pooled(x: Tensor, axis: int) -> Tensor:
    """Maximum and mean over one axis: (B, 2, ...) of the other two, in their order, but (H, C) over the columns."""
    pooled = torch.stack([x.amax(axis), x.mean(axis)], 1)
    return pooled.transpose(2, 3) if axis == 3 else pooled
