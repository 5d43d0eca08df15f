"""Triplet attention as published: the map is rotated for each pair of axes, gated and rotated back."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.triplet_attention import AxisGate, TripletAttention


def gated(gate: AxisGate, x: Tensor) -> Tensor:
    pooled = torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
    return x * torch.sigmoid(gate.bn(gate.conv(pooled)))


def forward(block: TripletAttention, x: Tensor) -> Tensor:
    over_rows = gated(block.over_rows, x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
    over_columns = gated(block.over_columns, x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
    return (over_rows + over_columns + gated(block.over_channels, x)) / 3


FORWARDS = {TripletAttention: forward}
