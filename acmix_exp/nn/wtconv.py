"""Wavelet convolution: small depthwise kernels on the bands of a Haar transform see large parts of the map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn, norm_affine
from acmix_exp.ops.checks import check_odd, check_positive, is_tracing_or_exporting

BANDS = 4
BAND_SCALE = 0.1  # initial scale of the bands; that of the map itself is 1
# Rows: LL, LH, HL, HH. Columns: the pixels (0, 0), (0, 1), (1, 0), (1, 1) of a cell. It is its own inverse.
HAAR = ((0.5, 0.5, 0.5, 0.5), (0.5, -0.5, 0.5, -0.5), (0.5, 0.5, -0.5, -0.5), (0.5, -0.5, -0.5, 0.5))


def haar_transform(x: Tensor) -> Tensor:
    """One level of the 2-D Haar transform: (B, C, H, W) -> (B, C, 4, ceil(H/2), ceil(W/2)), bands LL, LH, HL, HH.

    A map of odd size is extended by zeros.
    """
    height, width = x.shape[2:]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    if is_tracing_or_exporting():  # no branch on a size, which may be symbolic
        x = F.pad(x, (0, 1, 0, 1))[:, :, : 2 * rows, : 2 * columns]
    elif height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    cells = x.reshape(*x.shape[:2], rows, 2, columns, 2).permute(0, 1, 3, 5, 2, 4)
    return _mixed(cells.reshape(*x.shape[:2], BANDS, rows, columns))


def inverse_haar_transform(bands: Tensor, height: int, width: int) -> Tensor:
    """The map (B, C, height, width) whose :func:`haar_transform` is ``bands``; what extends it is cut off."""
    batch, channels, _, rows, columns = bands.shape
    cells = _mixed(bands).view(batch, channels, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, channels, 2 * rows, 2 * columns)[:, :, :height, :width]


def _mixed(cells: Tensor) -> Tensor:
    """``HAAR`` times the axis 2 of (B, C, 4, h, w)."""
    return (cells.new_tensor(HAAR) @ cells.flatten(3)).view(cells.shape).to(cells.dtype)


class ScaledConv(nn.Module):
    """``scale * conv(x)``, depthwise, with a scale for each channel: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, kernel_size: int, scale: float, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=bias)
        self.scale: nn.Parameter | None = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(x)
        return convolved if self.scale is None else convolved * self.scale[:, None, None]

    @torch.no_grad()
    def multiply(self, factor: Tensor) -> None:
        """Multiply weights and bias by a factor (C) for each channel."""
        dtype = self.conv.weight.dtype
        self.conv.weight = nn.Parameter((self.conv.weight * factor[:, None, None, None]).to(dtype), False)
        if self.conv.bias is not None:
            self.conv.bias = nn.Parameter((self.conv.bias * factor).to(dtype), False)

    def fuse(self) -> None:
        """Merge the scale into the convolution, in place, for inference."""
        if self.scale is not None:
            self.multiply(self.scale)
            self.scale = None


class WTConv(nn.Module):
    """``s_0 conv(x) + IWT(Y_LL + Z, Y_H)``: (B, C, H, W) -> (B, C, H, W), any size from 1 x 1.

    Level i takes the Haar transform of the low band of the level above (level 1: of x), convolves all four bands, and
    scales them: Y_LL and Y_H. Z is what the level below gives: the inverse transform of its own. All convolutions are
    k x k and depthwise, and that of x has a bias. A kernel of level i covers 2^i k pixels. Maps of odd size are
    extended by zeros, and the result is cut: on a map that is smaller than 2^levels the deepest bands are of one pixel.

    Args:
        channels: C.
        kernel_size: k, odd.
        levels: of the transform.

    Source: Finder et al., Wavelet Convolutions for Large Receptive Fields, ECCV 2024, section 3.
    """

    def __init__(self, channels: int, kernel_size: int = 5, levels: int = 3) -> None:
        super().__init__()
        check_positive(channels=channels, levels=levels)
        check_odd(kernel_size=kernel_size)
        self.of_map = ScaledConv(channels, kernel_size, 1.0, bias=True)
        self.of_bands = nn.ModuleList(
            ScaledConv(BANDS * channels, kernel_size, BAND_SCALE, bias=False) for _ in range(levels)
        )

    @property
    def levels(self) -> list[ScaledConv]:
        """Of the bands of each level, the finest first."""
        return [each for each in self.of_bands if isinstance(each, ScaledConv)]

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.of_map(x)
        return convolved + _through(self.levels, x)

    def fuse(self, norm: nn.BatchNorm2d | None = None) -> WTConv:
        """For inference, in place: merge the scales, and the norm that follows, into the convolutions."""
        for each in (self.of_map, *self.levels):
            each.fuse()
        if norm is not None:
            self.of_map.conv = fuse_conv_bn(self.of_map.conv, norm)
            factor, _ = norm_affine(norm)
            for each in self.levels:
                each.multiply(factor.repeat_interleave(BANDS))
        return self

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: convolutions and transforms, both ways."""
        total = self.of_map.conv.weight.numel() * height * width
        transforms = 2 * BANDS**2 * self.of_map.conv.in_channels
        for each in self.levels:
            height, width = (height + 1) // 2, (width + 1) // 2
            total += (each.conv.weight.numel() + transforms) * height * width
        return 2 * total


def _through(levels: Sequence[ScaledConv], x: Tensor) -> Tensor:
    """What the first of the levels, and all below it, give for x, the low band of the level above."""
    first, *others = levels
    bands = haar_transform(x)
    convolved = first(bands.flatten(1, 2)).view(bands.shape)
    if others:
        low = convolved[:, :, :1] + _through(others, bands[:, :, 0]).unsqueeze(2)
        convolved = torch.cat([low, convolved[:, :, 1:]], 2)
    return inverse_haar_transform(convolved, x.shape[2], x.shape[3])
