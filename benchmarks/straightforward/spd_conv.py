"""SPD-Conv with every pixel of a 2 x 2 cell moved by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.spd_conv import SPDConv


def forward(block: SPDConv, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    cells = x.new_zeros(batch, 4 * channels, rows, columns)
    for number, (i, j) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        part = x[:, :, i::2, j::2]
        cells[:, number * channels : (number + 1) * channels, : part.shape[2], : part.shape[3]] = part
    return torch.nn.functional.conv2d(cells, block.conv.weight, block.conv.bias, padding=block.conv.padding)


FORWARDS = {SPDConv: forward}
