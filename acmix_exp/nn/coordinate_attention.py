"""Coordinate attention: a gate from the means of rows and columns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.nn.layers import BatchNorm
from acmix_exp.ops.checks import check_positive

LEAST = 8  # hidden channels, as published


class CoordinateAttention(nn.Module):
    """``x * sigmoid(F_h(f_h)) * sigmoid(F_w(f_w))``: (B, C, H, W) -> (B, C, H, W), any size from 1 x 1.

    The means of the rows (over the width) and of the columns (over the height) are concatenated along their axis,
    ``f = hardswish(BN(F_1([rows, columns])))``, and split again into f_h and f_w. F_1 narrows to max(8, C / reduction)
    channels. All F are 1x1 convolutions with biases. Parameter names as published.

    Args:
        channels: C.
        reduction: divides C into the hidden channels, rounded down.

    Source: Hou, Zhou and Feng, Coordinate Attention for Efficient Mobile Network Design, CVPR 2021, equations 4 to 9.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        check_positive(channels=channels, reduction=reduction)
        hidden = max(LEAST, channels // reduction)
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.bn1: nn.Module = BatchNorm(hidden)
        self.conv_h = nn.Conv2d(hidden, channels, 1)
        self.conv_w = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        means = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).transpose(2, 3)], dim=2)
        rows, columns = F.hardswish(self.bn1(self.conv1(means))).split([height, width], dim=2)
        return x * self.conv_h(rows).sigmoid() * self.conv_w(columns).transpose(2, 3).sigmoid()

    def fuse(self) -> None:
        """Merge the norm into the convolution, in place, for inference."""
        if isinstance(self.bn1, BatchNorm):
            self.conv1, self.bn1 = fuse_conv_bn(self.conv1, self.bn1), nn.Identity()

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width."""
        return 4 * self.conv1.in_channels * self.conv1.out_channels * (height + width)
