"""Coordinate attention as its equations say."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.coordinate_attention import CoordinateAttention


def forward(block: CoordinateAttention, x: Tensor) -> Tensor:
    _, _, height, width = x.shape
    rows = torch.nn.functional.adaptive_avg_pool2d(x, (height, 1))
    columns = torch.nn.functional.adaptive_avg_pool2d(x, (1, width)).permute(0, 1, 3, 2)
    f = block.bn1(block.conv1(torch.cat([rows, columns], dim=2)))
    f = f * torch.clamp(f + 3, 0, 6) / 6
    f_h, f_w = torch.split(f, [height, width], dim=2)
    return x * block.conv_h(f_h).sigmoid() * block.conv_w(f_w.permute(0, 1, 3, 2)).sigmoid()


FORWARDS = {CoordinateAttention: forward}
