"""Tiled window attention in plain torch with symbolic sizes: the form that TorchScript and ONNX graphs hold.

Tiles of queries, and for each the square of keys that contains all its windows, are gathered by index. A reflected key
is gathered once per window position that it fills, so one constant mask serves every tile of every map, and the graph
does not grow with the window. The last tiles are padded with queries outside the map; their outputs are cropped.

An Inf or NaN in key or value spreads to all queries of the tiles whose key square contains it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect

SIDE = 4  # side of a tile of queries: of 4, 8 and 16 the fastest in onnxruntime, with the least memory


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, the key scaled -> (B, heads, d, rows, columns). Differentiable by autograd."""
    margin = kernel // 2 * dilation
    reach = (SIDE - 1) * stride + 2 * margin + 1  # side of the square of keys
    query_index, key_index, counts = [], [], []
    for size in query.shape[-2:]:
        counts.append(output_size(size, stride))
        first = torch.arange(output_size(counts[-1], SIDE), device=key.device)[:, None] * (SIDE * stride)
        query_index.append(reflect(first + stride * torch.arange(SIDE, device=key.device), size))
        key_index.append(reflect(first + torch.arange(-margin, reach - margin, device=key.device), size))
    logits = _gather(query, query_index) @ _gather(key, key_index).transpose(-1, -2)
    weights = (logits + _mask(kernel, stride, dilation, reach).to(logits)).softmax(dim=-1)
    out = weights @ _gather(value, key_index)
    batch, heads, down, across, _, channels = out.shape
    out = out.reshape(batch, heads, down, across, SIDE, SIDE, channels).permute(0, 1, 6, 2, 4, 3, 5)
    return out.flatten(5, 6).flatten(3, 4)[..., : counts[0], : counts[1]]


def _gather(image: Tensor, index: list[Tensor]) -> Tensor:
    """(B, heads, d, H, W), rows and columns of each tile -> (B, heads, tiles down, tiles across, pixels, d)."""
    rows, columns = index
    # Channels last: the gather then copies whole pixels.
    tiles = image.permute(0, 1, 3, 4, 2)[:, :, rows][:, :, :, :, columns]
    return tiles.transpose(3, 4).flatten(4, 5)


def _mask(kernel: int, stride: int, dilation: int, reach: int) -> Tensor:
    """Mask added to the logits of a tile, (SIDE^2, reach^2): zero for the taps of a query, -inf for other keys."""
    offset = torch.arange(reach) - stride * torch.arange(SIDE)[:, None]
    taps = (offset >= 0) & (offset <= (kernel - 1) * dilation) & (offset % dilation == 0)
    both = taps[:, None, :, None] & taps[None, :, None, :]
    return torch.zeros(SIDE**2, reach**2).masked_fill(~both.flatten(2).flatten(0, 1), -torch.inf)
