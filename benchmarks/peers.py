"""The same window attention with other kernels: flex_attention and NATTEN.

Neither mirrors the window at the border. Keys and values are reflection-padded, so that the window of every query is
inside the padded map; the position embedding is subtracted from the key, because E[centre] cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.published_form import coordinates

Operator = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Unavailable(RuntimeError):
    """A contender that this machine lacks or that does not support the case."""


def padded_key_value(
    key: Tensor, value: Tensor, position_weight: Tensor, heads: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Key with its position embedding, and value, both (B, C, H + 2 pad, W + 2 pad)."""
    embedding = F.conv2d(coordinates(key.shape[-2:], position_weight), position_weight)
    key = key - embedding.repeat(1, heads, 1, 1)
    return F.pad(key, [pad] * 4, mode="reflect"), F.pad(value, [pad] * 4, mode="reflect")


def flex(height: int, width: int, kernel: int, heads: int, device: str) -> Operator:
    """flex_attention with the window as its mask, for maps of that size; compiled on a GPU."""
    try:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    except ImportError as error:
        raise Unavailable("this torch has no flex_attention") from error
    wide = width + 2 * (kernel // 2)

    def window(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        down = key // wide - query // width
        right = key % wide - query % width
        return (down >= 0) & (down < kernel) & (right >= 0) & (right < kernel)

    keys = (height + 2 * (kernel // 2)) * wide
    mask = create_block_mask(window, None, None, height * width, keys, device=device)
    attention: Any = flex_attention if device == "cpu" else torch.compile(flex_attention, dynamic=False)

    def operator(query: Tensor, key: Tensor, value: Tensor, position_weight: Tensor) -> Tensor:
        key, value = padded_key_value(key, value, position_weight, heads, kernel // 2)
        q, k, v = (t.unflatten(1, (heads, -1)).flatten(3).transpose(2, 3) for t in (query, key, value))
        out: Tensor = attention(q, k, v, block_mask=mask)
        return out.transpose(2, 3).reshape(query.shape)

    return operator


def natten(kernel: int, heads: int) -> Operator:
    """NATTEN's two-dimensional neighbourhood attention; the outputs of zero-padded queries are cropped."""
    na2d = _na2d()
    pad = kernel // 2

    def operator(query: Tensor, key: Tensor, value: Tensor, position_weight: Tensor) -> Tensor:
        key, value = padded_key_value(key, value, position_weight, heads, pad)
        padded = F.pad(query, [pad] * 4), key, value
        q, k, v = (t.permute(0, 2, 3, 1).unflatten(3, (heads, -1)).contiguous() for t in padded)
        out: Tensor = na2d(q, k, v, kernel_size=kernel)
        height, width = query.shape[-2:]
        return out[:, pad : pad + height, pad : pad + width].flatten(3).permute(0, 3, 1, 2)

    return operator


@cache
def _na2d() -> Any:
    try:
        from natten import na2d  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, RuntimeError) as error:
        raise Unavailable("natten is not installed") from error
    return na2d
