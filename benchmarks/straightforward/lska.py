"""LSKA as published: a gate of four strips and a 1x1 convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.lska import LSKA


def forward(block: LSKA, x: Tensor) -> Tensor:
    gate = x
    for conv in (block.conv0h, block.conv0v, block.conv_spatial_h, block.conv_spatial_v):
        height, width = conv.weight.shape[2:]
        dilation = conv.dilation[0]
        padding = dilation * (height - 1) // 2, dilation * (width - 1) // 2
        gate = F.conv2d(gate, conv.weight, conv.bias, 1, padding, dilation, x.shape[1])
    return x * block.conv1(gate)


FORWARDS = {LSKA: forward}
