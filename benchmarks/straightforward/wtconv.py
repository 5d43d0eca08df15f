"""WTConv as published: the transforms are convolutions of stride 2 with Haar's filters, and transposed ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.wtconv import WTConv


def filters(channels: int, like: Tensor) -> Tensor:
    """LL, LH, HL and HH for each channel, (4 C, 1, 2, 2)."""
    low, high = torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0])
    bands = [torch.outer(rows, columns) / 2 for rows in (low, high) for columns in (low, high)]
    return torch.stack(bands).to(like).unsqueeze(1).repeat(channels, 1, 1, 1)


def scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale.view(1, -1, 1, 1)


def forward(block: WTConv, x: Tensor) -> Tensor:
    channels = x.shape[1]
    haar = filters(channels, x)
    low, convolved, sizes = x, [], []
    for level in block.levels:
        sizes.append(low.shape[2:])
        low = F.pad(low, (0, low.shape[3] % 2, 0, low.shape[2] % 2))
        bands = F.conv2d(low, haar, stride=2, groups=channels)
        convolved.append(scaled(level.conv(bands), level.scale))
        low = bands[:, ::4]
    below = torch.zeros_like(low)
    for bands, (height, width) in zip(reversed(convolved), reversed(sizes), strict=True):
        each = list(bands.unflatten(1, (channels, 4)).unbind(2))
        each[0] = each[0] + below
        joined = torch.stack(each, dim=2).flatten(1, 2)
        below = F.conv_transpose2d(joined, haar, stride=2, groups=channels)[:, :, :height, :width]
    return scaled(block.of_map.conv(x), block.of_map.scale) + below


FORWARDS = {WTConv: forward}
