"""Where the taps of a reflected window lie, and the coordinates the position term uses.

Every map size from 1 upwards is legal: reflection goes back and forth as often as it must (numpy's
``mode="reflect"``), which is ``ReflectionPad2d`` wherever that is defined.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.checks import is_tracing_or_exporting


def output_size(size: int, stride: int) -> int:
    """Number of query positions along an axis of ``size`` pixels: ceil(size / stride)."""
    return (size + stride - 1) // stride  # of positive numbers alone: ONNX rounds towards zero


def at_least_one(size: int | Tensor) -> Any:
    """``max(size, 1)``. In a traced graph a size is a tensor, and ``max`` would settle for one of the two."""
    return size.clamp(min=1) if isinstance(size, Tensor) else max(size, 1)


def reflect(position: Tensor, size: int) -> Tensor:
    """Fold integer positions, however far outside, back into ``0 .. size - 1``; same shape and dtype."""
    period = at_least_one(2 * size - 2)
    if is_tracing_or_exporting() and not isinstance(period, Tensor):
        # ONNX has no division of a tensor by a size that is left open.
        period = torch.full((1,), period, device=position.device)
    folded = position % period
    return torch.minimum(folded, period - folded)


def tap_index(size: int, kernel: int, stride: int, dilation: int, device: torch.device) -> Tensor:
    """Pixel under each tap along one axis: int64 (ceil(size / stride), kernel)."""
    centre = torch.arange(0, size, stride, device=device)
    offset = (torch.arange(kernel, device=device) - kernel // 2) * dilation
    return reflect(centre[:, None] + offset, size)


def coordinate(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The axis coordinate of each pixel, -1 .. 1 in equal steps, (size,); -1 for a single pixel."""
    # Not linspace: its number of steps is frozen under torch.export, and it ignores what half() does to a
    # module.
    return torch.arange(size, dtype=dtype, device=device) * (2.0 / at_least_one(size - 1)) - 1.0


def position_map(weight: Tensor, height: int, width: int) -> Tensor:
    """Position embedding without its bias, which cancels in the attention: (d, 2, ...) -> (d, height, width).

    Input channel 0 is the column coordinate, channel 1 the row coordinate.
    """
    along_x, along_y = weight.flatten(1).unbind(1)
    x = coordinate(width, weight.dtype, weight.device)
    y = coordinate(height, weight.dtype, weight.device)
    return along_x[:, None, None] * x + along_y[:, None, None] * y[:, None]


def positioned(key: Tensor, weight: Tensor | None, scale: float) -> Tensor:
    """scale * (key - E): E[centre] cancels in the softmax: with this key a logit is query . key."""
    if weight is None:
        return key * scale
    embedding = position_map(weight, *key.shape[-2:])
    return torch.add(embedding * -scale, key, alpha=scale)
