"""The control blocks: identity for the harness, join for what joins a block, 3x3 convolutions for capacity."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse, fuse_conv_bn
from acmix_exp.nn.stand_in import operations, parameters


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


class Join(Identity):
    """As :class:`Identity`, but joined to its layer as a block is: with that norm, activation and residual.

    Without this control, the gain of a block may be due to the layers that join it.
    """


class Conv3x3Matched(nn.Module):
    """A 3x3 convolution to ``hidden`` channels and a 1x1 back, nothing between and no biases: (B, C, H, W) to the same.

    It has 10 C hidden parameters, so ``hidden`` makes it as large as another block; see :func:`matched_hidden`. null:
    half the channels.
    """

    def __init__(self, channels: int, hidden: int | None) -> None:
        super().__init__()
        hidden = max(1, channels // 2) if hidden is None else hidden
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.conv(x))

    def fuse(self, norm: nn.BatchNorm2d | None = None) -> Conv3x3Matched:
        """For inference, in place: take the norm that follows into the last convolution."""
        if norm is not None:
            self.project = fuse_conv_bn(self.project, norm)
        return self

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of ``height`` x ``width``."""
        return 2 * 10 * self.conv.in_channels * self.conv.out_channels * height * width


def size_of(block: nn.Module, match: str, channels: int, height: int, width: int) -> int:
    """What ``match`` counts of a block: its trained ``parameters``, or its ``flops`` as it runs in inference."""
    if match == "parameters":
        return parameters(block)
    return operations(fuse(copy.deepcopy(block).eval()), channels, height, width)


def matched_hidden(size: int, match: str, channels: int, height: int, width: int) -> int:
    """The ``hidden``, at least 1, with which a :class:`Conv3x3Matched` comes nearest to a size of :func:`size_of`."""
    return max(1, round(size / size_of_one(match, channels, height, width)))


def size_of_one(match: str, channels: int, height: int, width: int) -> int:
    """The size of a :class:`Conv3x3Matched` of one hidden channel."""
    return 10 * channels if match == "parameters" else 20 * channels * height * width
