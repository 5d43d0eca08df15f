"""The tile form in plain torch with sizes left open: what a traced graph holds, TorchScript or ONNX.

Tiles are gathered by index: queries, and the square of keys that holds all their windows, a reflected key at every
place where it is seen. So one constant mask serves every tile of every map, and a graph does not grow with the window.
The last tiles are filled up with queries beyond the map, which are cut off again.

An Inf or NaN in key or value spreads to all queries of the tiles that can see it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect

SIDE = 4  # of a tile of queries: of 4, 8 and 16 the fastest in onnxruntime, and the least memory


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, the key scaled -> (B, heads, d, rows, columns). Differentiable by autograd."""
    margin = kernel // 2 * dilation
    reach = (SIDE - 1) * stride + 2 * margin + 1  # side of the square of keys
    sites, seen, counts = [], [], []
    for size in query.shape[-2:]:
        counts.append(output_size(size, stride))
        first = torch.arange(output_size(counts[-1], SIDE), device=key.device)[:, None] * (SIDE * stride)
        sites.append(reflect(first + stride * torch.arange(SIDE, device=key.device), size))
        seen.append(reflect(first + torch.arange(-margin, reach - margin, device=key.device), size))
    logits = _gather(query, sites) @ _gather(key, seen).transpose(-1, -2)
    weights = (logits + _mask(kernel, stride, dilation, reach).to(logits)).softmax(dim=-1)
    out = weights @ _gather(value, seen)
    batch, heads, down, across, _, channels = out.shape
    out = out.reshape(batch, heads, down, across, SIDE, SIDE, channels).permute(0, 1, 6, 2, 4, 3, 5)
    return out.flatten(5, 6).flatten(3, 4)[..., : counts[0], : counts[1]]


def _gather(image: Tensor, places: list[Tensor]) -> Tensor:
    """(B, heads, d, H, W), the rows and the columns of each tile -> (B, heads, tiles down, tiles across, pixels, d)."""
    # Channels last, so that pixels are moved whole.
    rows, columns = places
    cut = image.permute(0, 1, 3, 4, 2)[:, :, rows][:, :, :, :, columns]
    return cut.transpose(3, 4).flatten(4, 5)


def _mask(kernel: int, stride: int, dilation: int, reach: int) -> Tensor:
    """Added to the logits of a tile, (SIDE^2, reach^2): zero for the taps of a query, -inf for all other keys."""
    offset = torch.arange(reach) - stride * torch.arange(SIDE)[:, None]
    taps = (offset >= 0) & (offset <= (kernel - 1) * dilation) & (offset % dilation == 0)
    both = taps[:, None, :, None] & taps[None, :, None, :]
    return torch.zeros(SIDE**2, reach**2).masked_fill(~both.flatten(2).flatten(0, 1), -torch.inf)
