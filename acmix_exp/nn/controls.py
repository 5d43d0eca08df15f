"""The control blocks: identity for the harness, a plain 3x3 convolution for capacity."""

from __future__ import annotations

from torch import Tensor, nn


class Identity(nn.Module):
    """Return the input unchanged: (B, C, H, W) to the same, for any number of channels. No parameters, no operations.

    A network with it at every site must train as the stock network does, bit for bit on a CPU; any difference comes
    from the harness.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def flops(self, height: int, width: int) -> int:
        return 0


class Conv3x3(nn.Conv2d):
    """A dense 3x3 convolution without bias, as in YOLOv8's own bottlenecks: (B, C, H, W) to the same.

    Without this control, the gain of an attention block may be due to its parameters alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, bias=False)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of ``height`` x ``width``."""
        return 2 * 9 * self.in_channels * self.out_channels * height * width
