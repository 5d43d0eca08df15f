"""DySample: upsampling by bilinear samples at learned points; and bilinear upsampling, its control."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.ops.checks import check_positive

SCALE = 2
STATIC = 0.25  # the static scope factor of the paper
SMALL = 0.001  # standard deviation of the initial weights of the offsets: it starts as bilinear upsampling


class DySample(nn.Module):
    """Each pixel of the result is sampled bilinearly near its own place: (B, C, H, W) -> (B, C, 2H, 2W).

    The points are those of bilinear upsampling plus offsets in pixels of x: ``0.25 offset(x)``, or with ``dynamic``
    ``0.5 sigmoid(scope(x)) offset(x)``. Both are 1x1 convolutions to 2 x groups x 4 channels, moved into pixels: the
    order "linear, then pixel shuffle" of the paper. Outside the map its edge is repeated. Points are computed in
    float32 or better. On CUDA the gradient of the sampling is not deterministic.

    Args:
        channels: C.
        groups: of channels with offsets of their own; divides C.
        dynamic: whether the reach of the offsets is predicted too.

    Raises:
        ValueError: unless ``groups`` divides ``channels``.

    Source: Liu et al., Learning to Upsample by Learning to Sample, ICCV 2023, equations 1 to 5.
    """

    def __init__(self, channels: int, groups: int = 4, dynamic: bool = False) -> None:
        super().__init__()
        check_positive(channels=channels, groups=groups)
        if channels % groups:
            raise ValueError(f"groups must divide the {channels} channels, got {groups}")
        self.groups = groups
        self.offset = nn.Conv2d(channels, 2 * groups * SCALE**2, 1)
        nn.init.normal_(self.offset.weight, std=SMALL)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]
        self.scope: nn.Conv2d | None = None
        if dynamic:
            self.scope = nn.Conv2d(channels, 2 * groups * SCALE**2, 1, bias=False)
            nn.init.zeros_(self.scope.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        offset = self.offset(x)
        offset = offset * STATIC if self.scope is None else offset * self.scope(x).sigmoid() * 0.5
        wide = torch.promote_types(x.dtype, torch.float32)
        # (B groups, 2, 2H, 2W): along the columns, then the rows.
        moved = F.pixel_shuffle(offset.to(wide).reshape(batch * self.groups, 2 * SCALE**2, height, width), SCALE)
        columns = (_points(width, moved) + moved[:, 0]) / width
        rows = (_points(height, moved)[:, None] + moved[:, 1]) / height
        grid = 2 * torch.stack([columns, rows], -1) - 1
        source = x.reshape(batch * self.groups, channels // self.groups, height, width).to(wide)
        sampled = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return sampled.reshape(batch, channels, SCALE * height, SCALE * width).to(x.dtype)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of the convolutions for one image whose input map is height x width."""
        weights = self.offset.weight.numel() + (0 if self.scope is None else self.scope.weight.numel())
        return 2 * weights * height * width

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Bilinear(nn.Module):
    """Bilinear upsampling, which has no weights: (B, C, H, W) -> (B, C, 2H, 2W). DySample without its offsets.

    Args:
        channels: C; any.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_positive(channels=channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)

    def flops(self, height: int, width: int) -> int:
        """No operations of a convolution or a matrix product."""
        return 0


def _points(length: int, like: Tensor) -> Tensor:
    """Where the centres of twice as many pixels lie along a side of ``length`` pixels, from its edge."""
    return (torch.arange(SCALE * length, dtype=like.dtype, device=like.device) + 0.5) / SCALE
