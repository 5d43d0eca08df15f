"""Backend "shift": one window tap at a time, as shifted views of the padded map; for small windows.

Extra memory: a padded copy of a few heads at a time, and the kernel^2 attention weights of every query and head,
which are saved for the backward pass. Windows are never unfolded.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.layout import Layout

ELEMENTS_AT_ONCE = 1 << 19  # map elements per block: enough for long rows, few enough for the caches of a CPU
ELEMENTS_AT_ONCE_CUDA = 1 << 30


def forward(
    query: Tensor, key: Tensor, value: Tensor, *window: int, needs_gradient: bool = True
) -> tuple[Tensor, Tensor]:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns), without autograd.

    window: kernel, stride and dilation, here and below. The second result is what ``write_gradients`` needs: the
    attention weights (B, heads, kernel^2, row_length); empty unless ``needs_gradient``.
    """
    layout = Layout(*key.shape[-2:], *window)
    out = query.new_empty(*query.shape[:3], *layout.queries)
    saved = query.new_empty(*query.shape[:2], layout.kernel**2, layout.row_length) if needs_gradient else None
    for block in _blocks(query, layout):
        row = layout.flatten_queries(query[block][..., :: layout.stride, :: layout.stride])
        logits = _dot_products(row, layout.pad(key[block]), layout)
        weights = layout.zero_gaps(torch.softmax(logits, 2, out=None if saved is None else saved[block]))
        out[block] = layout.query_sites(_weighted_sum(weights, layout.pad(value[block]), layout))
    return out, query.new_empty(0) if saved is None else saved


def write_gradients(
    grads: Iterable[Tensor], grad: Tensor, query: Tensor, key: Tensor, value: Tensor, saved: Tensor, *window: int
) -> None:
    """Write the gradients of query, key and value into ``grads``, of any strides, given what ``forward`` saved."""
    grad_query, grad_key, grad_value = grads
    layout = Layout(*key.shape[-2:], *window)
    stride = layout.stride
    if stride > 1:
        grad_query.zero_()
    grad_sites = grad_query[..., ::stride, ::stride]
    for block in _blocks(query, layout):
        row = layout.flatten_queries(query[block][..., ::stride, ::stride])
        grad_row = layout.flatten_queries(grad[block])
        keys, values, weights = layout.pad(key[block]), layout.pad(value[block]), saved[block]
        grad_logits = torch._softmax_backward_data(_dot_products(grad_row, values, layout), weights, 2, weights.dtype)
        layout.zero_gaps(grad_logits)
        grad_sites[block] = layout.query_sites(_weighted_sum(grad_logits, keys, layout))
        for grad_map, source, coefficients in ((grad_key, row, grad_logits), (grad_value, grad_row, weights)):
            padded = _scatter(coefficients, source, torch.zeros_like(keys), layout)
            layout.pad_backward(padded, grad_map[block])


def _dot_products(row: Tensor, padded: Tensor, layout: Layout) -> Tensor:
    """Dot product of each query (..., d, used_length) with the pixel under each tap: (..., kernel^2, row_length)."""
    out = row.new_empty(*row.shape[:2], layout.kernel**2, layout.row_length)
    out.narrow(-1, layout.used_length, layout.row_length - layout.used_length).zero_()
    product = torch.empty_like(row)
    for tap, sums in zip(layout.taps(padded), out.narrow(-1, 0, layout.used_length).unbind(2), strict=True):
        torch.sum(torch.mul(row, tap, out=product), 2, out=sums)
    return out


def _weighted_sum(coefficients: Tensor, padded: Tensor, layout: Layout) -> Tensor:
    """Sum over the taps of coefficient (..., kernel^2, row_length) times pixel: (..., d, row_length)."""
    out = padded.new_empty(*padded.shape[:3], layout.row_length)
    row = out.narrow(-1, 0, layout.used_length)
    for number, (coefficient, tap) in enumerate(_pairs(coefficients, layout.taps(padded), layout)):
        if number:
            row.addcmul_(coefficient, tap)
        else:
            torch.mul(coefficient, tap, out=row)
    return out


def _scatter(coefficients: Tensor, row: Tensor, out: Tensor, layout: Layout) -> Tensor:
    """Adjoint of ``_weighted_sum``: add coefficient times row to the pixels under each tap. Returns ``out``."""
    for coefficient, tap in _pairs(coefficients, layout.taps(out), layout):
        tap.addcmul_(coefficient, row)
    return out


def _pairs(coefficients: Tensor, taps: list[Tensor], layout: Layout) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(coefficients.narrow(-1, 0, layout.used_length).unsqueeze(2).unbind(3), taps, strict=True)


def _blocks(query: Tensor, layout: Layout) -> list[tuple[slice, slice]]:
    images, heads, channels = query.shape[:3]
    return layout.blocks(images, heads, channels, ELEMENTS_AT_ONCE_CUDA if query.is_cuda else ELEMENTS_AT_ONCE)
