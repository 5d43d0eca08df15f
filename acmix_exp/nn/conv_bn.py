"""A batch norm that a single pixel can be trained through, and a convolution with it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn


class BatchNorm(nn.BatchNorm2d):
    """torch's, but where a channel has a single value, which has no variance, training normalises by the running
    statistics.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvBN(nn.Module):
    """``bn(c(x))``: (B, in_channels, H, W) -> (B, out_channels, H, W), "same" zero padding, no bias.

    ``c`` and ``bn`` are the names that SeaFormer's weights have. ``gamma`` is what the norm's weight starts at.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1, gamma: float = 1.0
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
        self.bn: BatchNorm | nn.Identity = BatchNorm(out_channels)
        nn.init.constant_(self.bn.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))

    def fuse(self) -> None:
        """For inference, in place: the norm into the convolution's weights."""
        if isinstance(self.bn, BatchNorm):
            self.c, self.bn = fuse_conv_bn(self.c, self.bn), nn.Identity()
