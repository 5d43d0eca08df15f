"""Large selective kernel (LSK): two large depthwise kernels, weighted at every pixel, gate the map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.van import VanBlock, fan_out_init
from acmix_exp.ops.checks import check_positive


class LSKUnit(nn.Module):
    """``x * gate(x)``, the gate a mixture of two large depthwise kernels: (B, C, H, W) -> (B, C, H, W).

    A 5x5 kernel and, after it, a 7x7 kernel of dilation 3 (together 23x23) are weighted at every pixel. The gate is not
    bounded. Any map size from 1 x 1. Parameter names as published.

    Args:
        dim: C, at least 2.

    Raises:
        ValueError: in one line, for an invalid number of channels.

    Source: Li et al., Large Selective Kernel Network for Remote Sensing Object Detection, ICCV 2023, section 3.
    Written from the paper; the authors' code is for non-commercial use.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_positive(dim=dim)
        if dim < 2:
            raise ValueError(f"dim must be at least 2, got {dim}")
        self.dim = dim
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, 7, padding=9, groups=dim, dilation=3)
        self.conv1 = nn.Conv2d(dim, dim // 2, 1)
        self.conv2 = nn.Conv2d(dim, dim // 2, 1)
        self.conv_squeeze = nn.Conv2d(2, 2, 7, padding=3)
        self.conv = nn.Conv2d(dim // 2, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        # On a CPU channels_last makes wide depthwise kernels faster, unlike the strips of LSKA.
        inner = x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x
        near = self.conv0(inner)
        far = self.conv2(self.conv_spatial(near))
        near = self.conv1(near)
        mean = (near.mean(1, keepdim=True) + far.mean(1, keepdim=True)) / 2
        largest = torch.maximum(near.amax(1, keepdim=True), far.amax(1, keepdim=True))
        select = torch.sigmoid(self.conv_squeeze(torch.cat([mean, largest], dim=1)))
        return x * self.conv(near * select[:, :1] + far * select[:, 1:])

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: convolutions."""
        half = self.dim // 2
        return 2 * height * width * (74 * self.dim + 3 * self.dim * half + 196)


class LSKAttention(nn.Module):
    """``x + proj_2(LSKUnit(gelu(proj_1(x))))``: (B, C, H, W) -> (B, C, H, W). Parameter names as published."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(d_model, d_model, 1)
        self.spatial_gating_unit = LSKUnit(d_model)
        self.proj_2 = nn.Conv2d(d_model, d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width."""
        return self.spatial_gating_unit.flops(height, width) + 4 * height * width * self.proj_1.in_channels**2


def lsk_block(dim: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> VanBlock:
    """LSKAttention in a VanBlock, initialised as VAN is: (B, C, H, W) -> (B, C, H, W)."""
    attn = LSKAttention(dim)
    fan_out_init(attn)
    return VanBlock(dim, attn, mlp_ratio=mlp_ratio, drop_path=drop_path)


BY_FORM = {"unit": LSKUnit, "residual": LSKAttention, "block": lsk_block}
