"""CARAFE as published: the weights and the windows of the map, both at the size of the result."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.carafe import Carafe


def forward(block: Carafe, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    side = block.kernel_up
    weights = F.pixel_shuffle(block.encoder(block.compressor(x)), 2).softmax(1)
    windows = F.unfold(x, side, padding=side // 2).view(batch, channels * side**2, height, width)
    windows = F.interpolate(windows, scale_factor=2, mode="nearest").view(
        batch, channels, side**2, 2 * height, 2 * width
    )
    # The weighted sum is a matrix product for each pixel, so that a counter of operations sees it.
    pixels = windows.permute(0, 3, 4, 1, 2).flatten(0, 2) @ weights.permute(0, 2, 3, 1).flatten(0, 2).unsqueeze(-1)
    return pixels.view(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


FORWARDS = {Carafe: forward}
