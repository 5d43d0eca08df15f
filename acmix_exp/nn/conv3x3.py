"""The control of capacity: what a plain convolution gains in a block's place."""

from __future__ import annotations

from torch import nn


class Conv3x3(nn.Conv2d):
    """A dense 3x3 convolution without bias, (B, C, H, W) to the same: the convolution of YOLOv8's own bottlenecks.

    Without it, a gain of an attention block may be one of parameters alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, bias=False)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of ``height`` x ``width``."""
        return 2 * 9 * self.in_channels * self.out_channels * height * width
