"""The softmax weights of an ACmix at given sites, for figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from acmix_exp.nn.acmix import ACmix
from acmix_exp.ops.window_attention.geometry import position_map, tap_index


class Windows(NamedTuple):
    """``weights``: (sites, head, kernel_att, kernel_att), each window summing to 1. ``rows`` and ``columns``: int64
    (sites, kernel_att), the pixel of the input map under each tap, reflected at the border as in the operator.
    """

    weights: Tensor
    rows: Tensor
    columns: Tensor


@torch.no_grad()
def attention_windows(block: ACmix, x: Tensor, sites: Sequence[tuple[int, int]]) -> Windows:
    """The attention of ``block`` on input ``x`` (1, in_planes, H, W) at output ``sites`` (row, column).

    A plain loop that shares no code with ``forward``. Raises ValueError for a block without attention.

    Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022, section 4.
    """
    if not block.has_attention:
        raise ValueError(f"path={block.path} has no attention")
    heads, dim, kernel = block.head, block.head_dim, block.kernel_att
    query = block.conv1(x)[0].unflatten(0, (heads, dim))
    key = block.conv2(x)[0].unflatten(0, (heads, dim))
    height, width = x.shape[-2:]
    indices = torch.tensor(list(sites), device=x.device)
    rows = tap_index(height, kernel, block.stride, block.dilation, x.device)[indices[:, 0]]
    columns = tap_index(width, kernel, block.stride, block.dilation, x.device)[indices[:, 1]]
    embedding = position_map(block.conv_p.weight, height, width)
    windows = []
    for (row, column), under, across in zip(indices.tolist(), rows, columns, strict=True):
        row, column = row * block.stride, column * block.stride
        taps = key[:, :, under][..., across] + embedding[:, row, column, None, None] - embedding[:, under][..., across]
        logits = dim**-0.5 * (query[:, :, row, column, None, None] * taps).sum(1)
        windows.append(logits.flatten(1).softmax(-1).unflatten(1, (kernel, kernel)))
    return Windows(torch.stack(windows), rows, columns)
