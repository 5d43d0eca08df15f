"""Partial convolution: one convolution of the first channels, and a copy of the others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.pconv import PConv


def forward(block: PConv, x: Tensor) -> Tensor:
    part = block.conv.in_channels
    convolved = F.conv2d(x[:, :part], block.conv.weight, padding=block.conv.padding)
    return torch.cat([convolved, x[:, part:]], dim=1)


FORWARDS = {PConv: forward}
