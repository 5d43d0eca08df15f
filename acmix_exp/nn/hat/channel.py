"""The channel attention of HAT: two convolutions and a gate for each channel."""

from __future__ import annotations

from torch import Tensor, nn

from acmix_exp.ops.window_attention.validation import check_positive

SQUEEZE = 30


def squeeze(channels: int, squeeze_factor: int | None) -> int:
    """``squeeze_factor``, or where it is None the published 30, at most a quarter of the channels and at least 1."""
    return max(1, min(SQUEEZE, channels // 4)) if squeeze_factor is None else squeeze_factor


class ChannelAttention(nn.Module):
    """``x * sigmoid(1x1(relu(1x1(mean of x))))``: (B, C, H, W) -> the same. Keys as published."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class CAB(nn.Module):
    """The channel attention block: 3x3 to C / compress_ratio, GELU, 3x3 back, gate. (B, C, H, W) -> the same.

    Any map from 1 x 1.

    Args:
        channels: C.
        compress_ratio: by how much the convolutions narrow the map.
        squeeze_factor: by how much the gate does; None for 30, at most a quarter of the channels.

    Raises:
        ValueError: one line, for a value that leaves no channel.

    Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, section 3.2.2.
    """

    def __init__(self, channels: int, compress_ratio: int = 3, squeeze_factor: int | None = None) -> None:
        super().__init__()
        squeeze_factor = squeeze(channels, squeeze_factor)
        for name, value in (("compress_ratio", compress_ratio), ("squeeze_factor", squeeze_factor)):
            check_positive(name, value)
            if value > channels:
                raise ValueError(f"{name} must leave at least one of the {channels} channels, got {value}")
        self.channels = channels
        self.narrow = channels // compress_ratio
        self.squeezed = channels // squeeze_factor
        self.cab = nn.Sequential(
            nn.Conv2d(channels, self.narrow, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(self.narrow, channels, 3, padding=1),
            ChannelAttention(channels, self.squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 4 * self.channels * (9 * self.narrow * height * width + self.squeezed)
