"""Window attention in plain torch with symbolic sizes, differentiable by autograd: the forms that graphs hold.

The runtimes of ONNX and TorchScript are fastest with gathers; under torch.export the unrolled form has the fewest
guards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect

SIDE = 4  # side of a tile of queries: of 4, 8 and 16 the fastest in onnxruntime, with the least memory


def attend_gathered(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """The form of TorchScript and ONNX: tiles of queries, and for each the square of keys that contains its windows.

    (B, heads, d, H, W) each, the key scaled -> (B, heads, d, rows, columns). Both are gathered by index. A reflected
    key is gathered once per window position that it fills, so one constant mask serves every tile of every map, and
    the graph does not grow with the window. The last tiles are padded with queries outside the map; their outputs are
    cropped. An Inf or NaN in key or value spreads to all queries of the tiles whose key square contains it.
    """
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


def attend_unrolled(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """The form of torch.export: the backend "shift" tap by tap, without in-place operations.

    (B, heads, d, H, W) each, the key scaled -> (B, heads, d, rows, columns).
    """
    height, width = (output_size(size, stride) for size in query.shape[-2:])
    query = query[..., ::stride, ::stride]
    keys = _taps(_pad(key, kernel, dilation), height, width, kernel, stride, dilation)
    weights = torch.stack([(query * tap).sum(dim=2) for tap in keys], dim=1).softmax(dim=1)
    values = _taps(_pad(value, kernel, dilation), height, width, kernel, stride, dilation)
    pairs = zip(weights.unsqueeze(3).unbind(1), values, strict=True)
    # Not accumulated from zeros_like, which keeps the traced size in ONNX.
    out = torch.mul(*next(pairs))
    for weight, tap in pairs:
        out = torch.addcmul(out, weight, tap)
    return out


def _pad(image: Tensor, kernel: int, dilation: int) -> Tensor:
    margin = kernel // 2 * dilation
    for dim in (-2, -1):
        size = image.shape[dim]
        image = image.index_select(dim, reflect(torch.arange(-margin, size + margin, device=image.device), size))
    return image


def _taps(padded: Tensor, height: int, width: int, kernel: int, stride: int, dilation: int) -> list[Tensor]:
    """Views (..., height, width) of a padded map: the pixels of all queries under tap 0, 1, ..."""
    return [
        padded[..., i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(0, kernel * dilation, dilation)
        for j in range(0, kernel * dilation, dilation)
    ]
