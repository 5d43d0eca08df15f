"""Square windows over a map: their relative positions, the mask of shifted ones, and maps that they do not fit.

Tokens are (B, H, W, C); L is the number of pixels in a window. H and W are multiples of the window's side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from acmix_exp.nn.extend import extend

MASKED = -100.0  # as published: e^-100 is zero in every dtype


def on_whole_windows(function: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """``function`` of the map (B, C, H, W), extended by its last row and column to whole windows; cropped."""
    height, width = x.shape[2:]
    x = extend(x, whole(height, window), whole(width, window)).contiguous(memory_format=torch.channels_last)
    return function(x)[:, :, :height, :width]


def whole(size: int, window: int) -> int:
    """The multiple of ``window`` that holds ``size``."""
    return (size + window - 1) // window * window


def window_index(window: int) -> Tensor:
    """(window^2, window^2) rows of a table with (2 window - 1)^2 rows, one for each relative position.

    Row (dy + window - 1)(2 window - 1) + dx + window - 1, d = query - key.
    """
    pixels = torch.arange(window)
    return _rows(pixels[:, None] - pixels + window - 1, 2 * window - 1)


def overlapping_index(window: int, reach: int) -> Tensor:
    """(window^2, reach^2) rows of a table with (window + reach - 1)^2 rows, one for each relative position.

    Queries are a window's pixels, keys those of the reach x reach area around it. Row dy (window + reach - 1) + dx,
    d = key - query + window - reach + 1; rows below zero count from the end, as published.
    """
    ahead = torch.arange(reach) - torch.arange(window)[:, None]
    return _rows(ahead + window - reach + 1, window + reach - 1)


def _rows(step: Tensor, span: int) -> Tensor:
    """step (queries, keys) along one axis -> (queries^2, keys^2)."""
    rows = step[:, None, :, None] * span + step[None, :, None, :]
    return rows.flatten(0, 1).flatten(1) % span**2


def shift_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """(windows, L, L) added to the logits of a map rolled by ``shift``: 0 within a region, -100 across the seam."""
    rows, columns = _zone(height, window, shift, like), _zone(width, window, shift, like)
    zone = (3 * rows[:, None] + columns).reshape(height // window, window, width // window, window)
    zone = zone.transpose(1, 2).reshape(-1, window**2)
    return (zone[:, :, None] != zone[:, None]).to(like.dtype) * MASKED


def _zone(size: int, window: int, shift: int, like: Tensor) -> Tensor:
    """0 before the last window, 1 in it, 2 in the part that the roll brought there."""
    index = torch.arange(size, device=like.device)
    return (index >= size - window).long() + (index >= size - shift).long()
