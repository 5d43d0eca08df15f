"""Deformable large kernel attention (D-LKA): a gate of two depthwise convolutions with learned offsets of the taps.

Three nested forms, each with the published parameter names: ``unit`` is x * gate(x), ``residual`` adds projections and
a shortcut, ``block`` adds layer norms and an MLP.
Source: Azad et al., Beyond Self-Attention: Deformable Large Kernel Attention for Medical Image Segmentation, WACV 2024.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from acmix_exp.nn.layers import ChannelLayerNorm
from acmix_exp.nn.van import GatedAttention, VanBlock
from acmix_exp.ops.checks import check_choice, check_odd, check_positive
from acmix_exp.ops.deformable_convolution import deformable_depthwise

OFFSETS = ("dense", "light")


class DepthwiseWeight(nn.Module):
    """The depthwise weight (C, 1, k, k), without a bias, under its published key."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))


class DeformableConv(nn.Module):
    """A depthwise deformable convolution that predicts its offsets from its input: (B, C, H, W) -> (B, C, H, W).

    Args:
        channels: C.
        kernel_size: k, odd.
        dilation: distance of the taps in pixels if the offsets are zero.
        offsets: "dense" predicts the 2 k^2 offsets by one k x k convolution, as published; "light" by a 1x1 and a
            depthwise 3x3, at a fraction of the parameters.
        zero_offsets: initialise all offsets to zero, as a plain dilated convolution. Not published.
        max_offset: clamp offsets to this many pixels; None for no limit, as published.

    Raises:
        ValueError: in one line, for an invalid value.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        dilation: int = 1,
        offsets: str = "dense",
        zero_offsets: bool = False,
        max_offset: float | None = None,
    ) -> None:
        super().__init__()
        check_positive(channels=channels)
        check_odd(kernel_size=kernel_size)
        check_positive(dilation=dilation)
        check_choice("offsets", offsets, OFFSETS)
        if max_offset is not None and not max_offset > 0:
            raise ValueError(f"max_offset must be above 0 or null, got {max_offset}")
        self.channels = channels
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = dilation * (kernel_size - 1) // 2
        self.offsets = offsets
        self.max_offset = max_offset
        taps = 2 * kernel_size**2
        self.offset_net: nn.Conv2d | nn.Sequential
        if offsets == "dense":
            last = nn.Conv2d(channels, taps, kernel_size, padding=self.padding, dilation=dilation)
            self.offset_net = last
        else:
            last = nn.Conv2d(taps, taps, 3, padding=1, groups=taps)
            self.offset_net = nn.Sequential(nn.Conv2d(channels, taps, 1), last)
        if zero_offsets:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.deform_conv = DepthwiseWeight(channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        offset = self.offset_net(x)
        if self.max_offset is not None:
            offset = offset.clamp(-self.max_offset, self.max_offset)
        return deformable_depthwise(x, offset, self.deform_conv.weight, self.padding, self.dilation)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image: offsets and taps, without the bilinear sampling."""
        taps = self.kernel_size**2
        dense = self.channels * 2 * taps * taps
        light = self.channels * 2 * taps + 9 * 2 * taps
        return 2 * height * width * ((dense if self.offsets == "dense" else light) + self.channels * taps)


class DLKA(nn.Module):
    """``x * gate(x)``: deformable 5x5, deformable 7x7 of dilation 3, 1x1. (B, C, H, W) -> (B, C, H, W).

    Any map from 1 x 1. Keyword arguments and errors are those of DeformableConv.

    Source: Azad et al. 2024, section 3.2, equations 5 to 7.
    """

    def __init__(self, channels: int, **offsets: Any) -> None:
        super().__init__()
        self.channels = channels
        self.conv0 = DeformableConv(channels, 5, **offsets)
        self.conv_spatial = DeformableConv(channels, 7, dilation=3, **offsets)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv1(self.conv_spatial(self.conv0(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image, without the bilinear sampling."""
        deformable = self.conv0.flops(height, width) + self.conv_spatial.flops(height, width)
        return deformable + 2 * height * width * self.channels**2


class DLKAAttention(GatedAttention):
    """``x + proj_2(DLKA(gelu(proj_1(x))))``: (B, C, H, W) -> (B, C, H, W). Arguments and errors are those of DLKA."""

    def __init__(self, channels: int, **offsets: Any) -> None:
        super().__init__(channels, DLKA(channels, **offsets))


class DLKABlock(VanBlock):
    """DLKAAttention in a VanBlock with layer norms: (B, C, H, W) -> (B, C, H, W).

    Arguments and errors are those of DLKA and VanBlock.
    """

    def __init__(self, channels: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, **offsets: Any) -> None:
        super().__init__(channels, DLKAAttention(channels, **offsets), ChannelLayerNorm, mlp_ratio, drop_path)


BY_FORM = {"unit": DLKA, "residual": DLKAAttention, "block": DLKABlock}
