"""Small networks whose cost can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ShiftBlock(nn.Module):
    """A 1x1 convolution, then ``taps`` shifted products that no counter includes."""

    def __init__(self, channels: int, taps: int = 9) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.channels, self.taps = channels, taps

    def flops(self, height: int, width: int) -> int:
        return 2 * height * width * (self.channels**2 + self.channels * self.taps)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.stack([x.roll(tap, -1) * x for tap in range(self.taps)]).sum(0)


class Outer(nn.Module):
    """A block that counts what is inside it, blocks included."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = ShiftBlock(channels)

    def flops(self, height: int, width: int) -> int:
        return 1000 + self.inner.flops(height, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Halving(ShiftBlock):
    """Returns every second pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., ::2, ::2]


class NoMetaBlock(ShiftBlock):
    """Branches on values, which meta tensors do not have."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x) * (1.0 if x.sum().item() >= 0 else -1.0)


class NoMeta(nn.Module):
    """The same without a ``flops`` method: 1x1 convolution of 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * (1.0 if x.sum().item() >= 0 else -1.0)


class Net(nn.Module):
    """3x3 stride 2 to 8 channels, a block, a linear layer: on (1, 3, 32, 32) the block gets 16 x 16."""

    CONV = 2 * 16 * 16 * 8 * 3 * 9
    LINEAR = 2 * 8 * 5

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.norm(self.stem(x))).mean((2, 3)))
