"""The block of the visual attention network (VAN), which LSK, LSKA and D-LKA fill with their own attention.

Source: Guo et al., Visual Attention Network, CVMJ 2023, section 3.3 and figure 3 (d).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse, fuse_bn_conv, has_statistics
from acmix_exp.nn.layers import BatchNorm, hidden_channels, stochastic_depth
from acmix_exp.ops.checks import check_positive


class GatedAttention(nn.Module):
    """``x + proj_2(unit(gelu(proj_1(x))))``: (B, C, H, W) -> (B, C, H, W).

    Parameter names as published: spatial_gating_unit, proj_1, proj_2. ``unit`` keeps the shape and has
    ``flops(height, width)``.
    """

    def __init__(self, channels: int, unit: nn.Module) -> None:
        super().__init__()
        self.spatial_gating_unit = unit
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x))))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width: unit and projections."""
        projections = 4 * height * width * self.proj_1.in_channels**2
        return self.spatial_gating_unit.flops(height, width) + projections  # type: ignore[operator]


class DepthwiseConv(nn.Module):
    """A 3 x 3 depthwise convolution with bias, under the published key ``dwconv``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class ConvMlp(nn.Module):
    """1x1 to ``int(channels * ratio)``, depthwise 3x3, GELU, 1x1 back: (B, C, H, W) -> (B, C, H, W).

    Parameter names as published: fc1, dwconv.dwconv, fc2. Raises ValueError if the ratio leaves no hidden channel.
    """

    def __init__(self, channels: int, ratio: float = 4.0) -> None:
        super().__init__()
        check_positive(channels=channels)
        self.channels = channels
        self.hidden = hidden_channels(channels, ratio)
        self.fc1 = nn.Conv2d(channels, self.hidden, 1)
        self.dwconv = DepthwiseConv(self.hidden)
        self.fc2 = nn.Conv2d(self.hidden, channels, 1)
        fan_out_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 2 * height * width * self.hidden * (2 * self.channels + 9)


class VanBlock(nn.Module):
    """``x += s1 * attn(norm1(x)); x += s2 * mlp(norm2(x))``: (B, C, H, W) -> (B, C, H, W).

    s1 and s2 are vectors of C values, 0.01 at first. Parameter names as published: norm1, attn, norm2, mlp,
    layer_scale_1, layer_scale_2.

    Args:
        channels: C.
        attn: a module that keeps the shape and has ``flops(height, width)``.
        norm: the class of the norms of (B, C, H, W), called with C.
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples in training for which a branch is skipped.

    Raises:
        ValueError: in one line, for an invalid value.
    """

    def __init__(
        self,
        channels: int,
        attn: nn.Module,
        norm: Callable[[int], nn.Module] = BatchNorm,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = attn
        self.norm2 = norm(channels)
        self.mlp = ConvMlp(channels, mlp_ratio)
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 0.01))
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))

    def fuse(self) -> None:
        """Merge the second norm into the MLP's first 1x1, in place, for inference.

        The first norm stays, because the attention's own shortcut reads its output too.
        """
        fuse(self.attn)
        if has_statistics(self.norm2):
            self.mlp.fc1, self.norm2 = fuse_bn_conv(self.norm2, self.mlp.fc1), nn.Identity()

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width: attention and MLP, no norms."""
        return self.attn.flops(height, width) + self.mlp.flops(height, width)  # type: ignore[operator]


def fan_out_init(module: nn.Module) -> None:
    """Initialise as VAN does: convolution weights normal with variance 2 / fan-out, biases zero."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            fan_out = math.prod(conv.kernel_size) * conv.out_channels // conv.groups
            nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
