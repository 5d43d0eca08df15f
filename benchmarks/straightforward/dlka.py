"""D-LKA as published: torchvision's deformable convolution at the predicted offsets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula
from torchvision.ops import deform_conv2d

from acmix_exp.nn.dlka import DeformableConv


@register_flop_formula(torch.ops.torchvision.deform_conv2d)  # type: ignore[untyped-decorator]
def deform_conv_flops(
    x: tuple[int, ...], weight: tuple[int, ...], *others: Any, out_shape: tuple[int, ...], **more: Any
) -> int:
    """Operations of the taps alone, as the block counts them; torch has no formula for this operator."""
    batch, _, height, width = out_shape
    return 2 * batch * height * width * weight[0] * weight[1] * weight[2] * weight[3]


def forward(block: DeformableConv, x: Tensor) -> Tensor:
    offset = block.offset_net(x)
    if block.max_offset is not None:
        offset = offset.clamp(-block.max_offset, block.max_offset)
    weight = block.deform_conv.weight
    return deform_conv2d(x, offset, weight, padding=block.padding, dilation=block.dilation)


FORWARDS = {DeformableConv: forward}
