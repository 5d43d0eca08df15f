"""A convolution with its batch norm."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn


class ConvBN(nn.Module):
    """``bn(c(x))``: (B, in_channels, H, W) -> (B, out_channels, H, W), "same" zero padding, no bias.

    ``c`` and ``bn`` are the names that SeaFormer's weights have. ``gamma`` is what the norm's weight starts at.
    Where a channel has a single value, which has no variance, training normalises by the running statistics.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1, gamma: float = 1.0
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(x)
        bn = self.bn
        if self.training and isinstance(bn, nn.BatchNorm2d) and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)
        return bn(x)

    def fuse(self) -> None:
        """For inference, in place: the norm into the convolution's weights."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.c, self.bn = fuse_conv_bn(self.c, self.bn), nn.Identity()
