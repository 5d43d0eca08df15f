"""Wavelet convolution: small depthwise kernels on the bands of a Haar transform see large parts of the map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn, norm_affine
from acmix_exp.ops.checks import check_odd, check_positive, is_tracing_or_exporting

BANDS = 4
LEVEL_SCALE = 0.1  # initial scale of the bands of a level; that of the map itself is 1
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


class Level(nn.Module):
    """``scale * conv(bands)``, depthwise: (B, C, 4, h, w) to the same."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        bands = BANDS * channels
        self.conv = nn.Conv2d(bands, bands, kernel_size, padding=kernel_size // 2, groups=bands, bias=False)
        self.scale: nn.Parameter | None = nn.Parameter(torch.full((bands,), LEVEL_SCALE))

    def forward(self, bands: Tensor) -> Tensor:
        return _scaled(self.conv(bands.flatten(1, 2)), self.scale).view(bands.shape)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale[:, None, None]


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
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.scale: nn.Parameter | None = nn.Parameter(torch.ones(channels))
        self.levels = nn.ModuleList(Level(channels, kernel_size) for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        return _scaled(self.conv(x), self.scale) + self._from_level(0, x)

    def _from_level(self, index: int, x: Tensor) -> Tensor:
        bands = haar_transform(x)
        convolved = self.levels[index](bands)
        if index + 1 < len(self.levels):
            low, high = convolved[:, :, :1], convolved[:, :, 1:]
            below = self._from_level(index + 1, bands[:, :, 0])
            convolved = torch.cat([low + below.unsqueeze(2), high], 2)
        return inverse_haar_transform(convolved, x.shape[2], x.shape[3])

    @torch.no_grad()
    def fuse(self, norm: nn.BatchNorm2d | None = None) -> WTConv:
        """For inference, in place: merge the scales, and the norm that follows, into the convolutions."""
        for part in (self, *self.levels):
            if part.scale is not None:
                conv = part.conv
                conv.weight = nn.Parameter(conv.weight * part.scale[:, None, None, None], requires_grad=False)
                if conv.bias is not None:
                    conv.bias = nn.Parameter(conv.bias * part.scale, requires_grad=False)
                part.scale = None
        if norm is not None:
            self.conv = fuse_conv_bn(self.conv, norm)
            scale, _ = norm_affine(norm)
            each = scale.repeat_interleave(BANDS).view(-1, 1, 1, 1)
            for level in self.levels:
                level.conv.weight = nn.Parameter((level.conv.weight * each).to(level.conv.weight.dtype), False)
        return self

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: convolutions and transforms, both ways."""
        total = self.conv.weight.numel() * height * width
        for level in self.levels:
            height, width = (height + 1) // 2, (width + 1) // 2
            transforms = 2 * BANDS**2 * self.conv.in_channels
            total += (level.conv.weight.numel() + transforms) * height * width
        return 2 * total
