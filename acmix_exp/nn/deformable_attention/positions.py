"""Where deformable attention looks: a grid of points over the map, moved by offsets.

Coordinates are normalised, (y, x) in the last axis: -1 is the centre of the first row or column, 1 that of the last.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reference_points(height: int, width: int, like: Tensor) -> Tensor:
    """(height, width, 2), in the dtype and on the device of ``like``: ``2 (i + 1/2) / (n - 1) - 1``.

    They reach from -1 + 1/(n - 1) to 1 + 1/(n - 1): the last ones lie outside the map, as published. n >= 2.
    """
    y = (torch.arange(height, device=like.device).to(like.dtype) + 0.5) * 2 / (height - 1) - 1
    x = (torch.arange(width, device=like.device).to(like.dtype) + 0.5) * 2 / (width - 1) - 1
    return torch.stack([y[:, None].expand(height, width), x.expand(height, width)], -1)


def moved_points(offset: Tensor, offset_range: float | None) -> Tensor:
    """(G, 2, h, w) offsets, channel 0 in y -> (G, h, w, 2) positions.

    offset_range: offsets are squashed by tanh to that many steps of the grid; None: they are added as they are and
    the positions clamped to the map.
    """
    height, width = offset.shape[2:]
    reference = reference_points(height, width, offset)
    if offset_range is None:
        return (reference + offset.permute(0, 2, 3, 1)).clamp(-1, 1)
    squashed = offset.tanh() * offset_range
    moved = torch.stack([squashed[:, 0] / (height - 1), squashed[:, 1] / (width - 1)], -1)
    return reference + moved


def displacements(height: int, width: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Query minus position, along y (G, H, 1, Ns) and along x (G, 1, W, Ns), from positions (G, h, w, 2).

    Queries are the pixels of a map of height x width, both >= 2: ``2 i / (n - 1) - 1``.
    """
    positions = positions.flatten(1, 2)
    y = torch.arange(height, device=positions.device).to(positions.dtype) * 2 / (height - 1) - 1
    x = torch.arange(width, device=positions.device).to(positions.dtype) * 2 / (width - 1) - 1
    along_y = y[:, None, None] - positions[:, None, None, :, 0]
    along_x = x[:, None] - positions[:, None, None, :, 1]
    return along_y, along_x
