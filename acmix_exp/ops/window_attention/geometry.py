"""Pixel indices of the taps of a reflected window, and the coordinates of the position term.

Every map size from 1 upwards is legal: reflection is repeated as often as needed (numpy's ``mode="reflect"``), which
equals ``ReflectionPad2d`` for all sizes that ``ReflectionPad2d`` accepts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.checks import is_tracing_or_exporting


def output_size(size: int, stride: int) -> int:
    """Number of query positions along an axis of ``size`` pixels: ceil(size / stride)."""
    return (size + stride - 1) // stride  # not -(-size // stride): ONNX rounds negative quotients towards zero


def at_least_one(size: int | Tensor) -> Any:
    """``max(size, 1)``. In a traced graph a size is a tensor, and ``max`` would freeze the branch taken."""
    return size.clamp(min=1) if isinstance(size, Tensor) else max(size, 1)


def reflect(position: Tensor, size: int) -> Tensor:
    """Map integer positions, however far outside, into ``0 .. size - 1`` by reflection; same shape and dtype."""
    period = at_least_one(2 * size - 2)
    if is_tracing_or_exporting() and not isinstance(period, Tensor):
        # ONNX cannot divide a tensor by a symbolic size.
        period = torch.full((1,), period, device=position.device)
    remainder = position % period
    return torch.minimum(remainder, period - remainder)


def tap_index(size: int, kernel: int, stride: int, dilation: int, device: torch.device) -> Tensor:
    """Index of the pixel under each tap along one axis: int64 (ceil(size / stride), kernel)."""
    centre = torch.arange(0, size, stride, device=device)
    offset = (torch.arange(kernel, device=device) - kernel // 2) * dilation
    return reflect(centre[:, None] + offset, size)


def coordinate(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The axis coordinate of each pixel, -1 .. 1 in equal steps, (size,); -1 for a single pixel."""
    # Not linspace: its number of steps is frozen under torch.export, and it ignores a module's half().
    return torch.arange(size, dtype=dtype, device=device) * (2.0 / at_least_one(size - 1)) - 1.0


def position_map(weight: Tensor, height: int, width: int) -> Tensor:
    """Position embedding without its bias, which cancels in the attention: (d, 2, ...) -> (d, height, width).

    Input channel 0 is the column coordinate, channel 1 the row coordinate.
    """
    along_x, along_y = weight.flatten(1).unbind(1)
    x = coordinate(width, weight.dtype, weight.device)
    y = coordinate(height, weight.dtype, weight.device)
    return along_x[:, None, None] * x + along_y[:, None, None] * y[:, None]


def key_with_position(key: Tensor, weight: Tensor | None, scale: float) -> Tensor:
    """scale * (key - E), with which a logit is query . key. E[centre] is left out: it cancels in the softmax."""
    if weight is None:
        return key * scale
    embedding = position_map(weight, *key.shape[-2:])
    return torch.add(embedding * -scale, key, alpha=scale)
