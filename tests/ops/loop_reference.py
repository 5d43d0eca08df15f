"""Window attention by its definition, in loops over the queries; shares no code with the package."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def reflected(size: int, margin: int) -> list[int]:
    """Source pixel of each position of an axis padded by ``margin`` on both sides with numpy's reflection."""
    if size == 1:
        return [0] * (1 + 2 * margin)
    return [int(i) for i in np.pad(np.arange(size), margin, mode="reflect")]


def position_embedding(weight: Tensor, bias: Tensor, height: int, width: int) -> Tensor:
    """The published embedding: channel 0 runs from -1 to 1 along a row, 1 down a column; then a 1x1 convolution."""
    x = torch.linspace(-1, 1, width, dtype=weight.dtype).repeat(height, 1)
    y = torch.linspace(-1, 1, height, dtype=weight.dtype)[:, None].repeat(1, width)
    return torch.einsum("cp,pyx->cyx", weight.reshape(-1, 2), torch.stack([x, y])) + bias[:, None, None]


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    *,
    kernel_size: int,
    heads: int,
    stride: int = 1,
    dilation: int = 1,
    scale: float | None = None,
) -> Tensor:
    batch, channels, height, width = query.shape
    d = channels // heads
    scale = d**-0.5 if scale is None else scale
    query, key, value = (t.reshape(batch, heads, d, height, width) for t in (query, key, value))
    embedding = torch.zeros(d, height, width, dtype=query.dtype)
    if weight is not None:
        embedding = position_embedding(weight, torch.full((d,), 0.3, dtype=weight.dtype), height, width)
    margin = kernel_size // 2 * dilation
    rows, columns = reflected(height, margin), reflected(width, margin)
    sites = []
    for y in range(0, height, stride):
        for x in range(0, width, stride):
            taps = [
                (rows[y + i * dilation], columns[x + j * dilation])
                for i in range(kernel_size)
                for j in range(kernel_size)
            ]
            q = scale * query[..., y, x]
            logits = [(q * (key[..., a, b] + embedding[:, y, x] - embedding[:, a, b])).sum(2) for a, b in taps]
            probability = torch.stack(logits).softmax(0)
            sites.append(sum(p[..., None] * value[..., a, b] for p, (a, b) in zip(probability, taps, strict=True)))
    out = torch.stack(sites, dim=-1)
    return out.reshape(batch, channels, math.ceil(height / stride), math.ceil(width / stride))
