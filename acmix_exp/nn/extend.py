"""Maps made larger for blocks that cannot take every size; the caller crops the result."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.recording import is_recorded


def extend(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) -> (B, C, height, width), neither smaller: the last column and the last row are repeated.

    Its gradient is deterministic on every device, unlike that of replication padding. In a recorded graph sizes may
    be left open.
    """
    if is_recorded():
        rows = torch.arange(height, device=x.device).clamp(max=x.shape[2] - 1)
        columns = torch.arange(width, device=x.device).clamp(max=x.shape[3] - 1)
        return x.index_select(2, rows).index_select(3, columns)
    below, right = height - x.shape[2], width - x.shape[3]
    if right:
        x = torch.cat([x, x[..., -1:].expand(-1, -1, -1, right)], 3)
    if below:
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, below, -1)], 2)
    return x


def at_least(size: int | Tensor, least: int) -> Any:
    """The larger one, without a branch on an open size of a recorded graph. The tracer gives tensors as sizes."""
    return size.clamp(min=least) if isinstance(size, Tensor) else torch.sym_max(size, least)
