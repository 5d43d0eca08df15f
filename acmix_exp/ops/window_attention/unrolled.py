"""Backend "shift" in plain torch without in-place operations: the form that torch.export and torch.compile record."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, the key scaled -> (B, heads, d, rows, columns). Differentiable by autograd."""
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
