"""Backend "reference": the specification of the operator; slow and plain, one tap at a time, with autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import position_map, tap_index


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor | None,
    kernel: int,
    stride: int,
    dilation: int,
    scale: float,
) -> Tensor:
    """Windowed attention, heads split: (B, heads, d, H, W) each -> (B, heads, d, ceil(H / stride), ceil(W /
    stride)).

    logit[t] = scale * query . (key[tap t] + E[centre] - E[tap t]), E the position embedding, shared by all heads.
    """
    height, width = key.shape[-2:]
    rows = tap_index(height, kernel, stride, dilation, key.device)
    columns = tap_index(width, kernel, stride, dilation, key.device)
    query = query[..., ::stride, ::stride]

    def taps(image: Tensor) -> list[Tensor]:
        return [image[..., rows[:, i], :][..., columns[:, j]] for i in range(kernel) for j in range(kernel)]

    keys, values = taps(key), taps(value)
    if position_weight is not None:
        embedding = position_map(position_weight, height, width)
        centre = embedding[:, ::stride, ::stride]
        keys = [k + centre - e for k, e in zip(keys, taps(embedding), strict=True)]
    logits = torch.stack([scale * (query * k).sum(dim=2) for k in keys])
    weights = logits.softmax(dim=0)
    return torch.stack([w.unsqueeze(2) * v for w, v in zip(weights, values, strict=True)]).sum(dim=0)
