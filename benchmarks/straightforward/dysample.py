"""DySample as published: offsets in pixels, added to a grid of points, sampled in groups of channels."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.dysample import Bilinear, DySample


def forward(block: DySample, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    reach = 0.25 if block.scope is None else 0.5 * block.scope(x).sigmoid()
    offset = (reach * block.offset(x)).view(batch, block.groups, 2, 4, height, width)
    groups = x.view(batch, block.groups, channels // block.groups, height, width)
    result = x.new_zeros(batch, block.groups, channels // block.groups, 2 * height, 2 * width)
    for i in range(2):
        for j in range(2):
            rows = torch.arange(height, dtype=x.dtype).view(-1, 1) + (i - 0.5) / 2 + offset[:, :, 1, 2 * i + j]
            columns = torch.arange(width, dtype=x.dtype).view(1, -1) + (j - 0.5) / 2 + offset[:, :, 0, 2 * i + j]
            result[..., i::2, j::2] = bilinear(groups, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return result.view(batch, channels, 2 * height, 2 * width)


def forward_bilinear(block: Bilinear, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    result = x.new_zeros(batch, channels, 2 * height, 2 * width)
    for i in range(2):
        for j in range(2):
            rows = (torch.arange(height, dtype=x.dtype) + (i - 0.5) / 2).clamp(0, height - 1).view(-1, 1)
            columns = (torch.arange(width, dtype=x.dtype) + (j - 0.5) / 2).clamp(0, width - 1)
            points = [each.expand(batch, 1, height, width) for each in (rows, columns)]
            result[..., i::2, j::2] = bilinear(x.unsqueeze(1), *points).squeeze(1)
    return result


def bilinear(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """maps: (B, g, C, H, W); rows, columns: (B, g, H, W), in pixels from the centre of the first, inside the map."""
    top, left = rows.floor().clamp(max=max(maps.shape[3] - 2, 0)), columns.floor().clamp(max=max(maps.shape[4] - 2, 0))
    total = 0
    for row, weigh_row in ((top, 1 - (rows - top)), (top + 1, rows - top)):
        for column, weigh_column in ((left, 1 - (columns - left)), (left + 1, columns - left)):
            index = row.clamp(max=maps.shape[3] - 1) * maps.shape[4] + column.clamp(max=maps.shape[4] - 1)
            index = index.long().flatten(2).unsqueeze(2).expand(-1, -1, maps.shape[2], -1)
            taps = maps.flatten(3).gather(3, index).view(maps.shape)
            total = total + taps * (weigh_row * weigh_column).unsqueeze(2)
    return total


FORWARDS = {DySample: forward, Bilinear: forward_bilinear}
