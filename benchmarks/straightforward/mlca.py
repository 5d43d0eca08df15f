"""MLCA with adaptive pooling in both directions, and 1-D convolutions along the channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.mlca import MLCA


def forward(block: MLCA, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    side = block.local_size
    means = F.adaptive_avg_pool2d(x, side)
    whole = means.mean(dim=(2, 3)).view(batch, 1, channels)
    padding = block.of_areas.padding[0]
    whole = F.conv1d(whole, block.of_map.weight, padding=padding).view(batch, channels, 1, 1)
    areas = means.permute(0, 2, 3, 1).reshape(-1, 1, channels)
    areas = F.conv1d(areas, block.of_areas.weight, padding=padding)
    areas = areas.view(batch, side, side, channels).permute(0, 3, 1, 2)
    gate = block.local_weight * torch.sigmoid(areas) + (1 - block.local_weight) * torch.sigmoid(whole)
    return x * F.adaptive_avg_pool2d(gate, (height, width))


FORWARDS = {MLCA: forward}
