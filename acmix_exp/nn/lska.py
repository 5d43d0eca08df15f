"""Large separable kernel attention (LSKA): a gate of depthwise strips, each along one axis.

Three nested forms, each with the published parameter names: ``unit`` is x * gate(x), ``residual`` adds projections and
a shortcut, ``block`` is that in the block of the visual attention network, with norms and an MLP.
Source: Lau, Po and Rehman, Large Separable Kernel Attention, Expert Systems with Applications 2024.
"""

from __future__ import annotations

from torch import Tensor, nn

from acmix_exp.nn.van import GatedAttention, VanBlock, fan_out_init
from acmix_exp.ops.checks import check_choice, check_positive

# kernel_size: (plain strip, dilated strip, dilation). The pair spans about kernel_size pixels.
STRIPS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}


class LSKA(nn.Module):
    """``x * gate(x)``, the gate four depthwise strips and a 1x1 convolution: (B, C, H, W) -> (B, C, H, W).

    Any map from 1 x 1. The gate has no sigmoid: the output is quadratic in the input, so float16 overflows when both
    factors reach 256; feed it normalised activations.

    Args:
        channels: C.
        kernel_size: pixels that the gate sees along each side, one of 7, 11, 23, 35, 41, 53.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Lau et al. 2024, section 3.2 and figure 3 (d).
    """

    def __init__(self, channels: int, kernel_size: int = 23) -> None:
        super().__init__()
        check_positive(channels=channels)
        check_choice("kernel_size", kernel_size, STRIPS)
        self.channels = channels
        self.kernel_size = kernel_size
        plain, dilated, dilation = STRIPS[kernel_size]
        self.conv0h = _strip(channels, 1, plain)
        self.conv0v = _strip(channels, plain, 1)
        self.conv_spatial_h = _strip(channels, 1, dilated, dilation)
        self.conv_spatial_v = _strip(channels, dilated, 1, dilation)
        self.conv1 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv0v(self.conv0h(x))
        gate = self.conv_spatial_v(self.conv_spatial_h(gate))
        return x * self.conv1(gate)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        plain, dilated, _ = STRIPS[self.kernel_size]
        return 2 * height * width * self.channels * (self.channels + 2 * plain + 2 * dilated)


def _strip(channels: int, height: int, width: int, dilation: int = 1) -> nn.Conv2d:
    padding = (dilation * (height - 1) // 2, dilation * (width - 1) // 2)
    return nn.Conv2d(channels, channels, (height, width), padding=padding, dilation=dilation, groups=channels)


class LSKAAttention(GatedAttention):
    """``x + proj_2(LSKA(gelu(proj_1(x))))``: (B, C, H, W) -> (B, C, H, W). Arguments and errors are those of LSKA."""

    def __init__(self, channels: int, kernel_size: int = 23) -> None:
        super().__init__(channels, LSKA(channels, kernel_size))


class LSKABlock(VanBlock):
    """LSKAAttention in a VanBlock with batch norms, initialised as VAN is: (B, C, H, W) -> (B, C, H, W).

    Arguments and errors are those of LSKA and VanBlock.
    """

    def __init__(self, channels: int, kernel_size: int = 23, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        attn = LSKAAttention(channels, kernel_size)
        super().__init__(channels, attn, mlp_ratio=mlp_ratio, drop_path=drop_path)
        fan_out_init(attn)


BY_FORM = {"unit": LSKA, "residual": LSKAAttention, "block": LSKABlock}
