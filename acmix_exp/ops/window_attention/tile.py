"""Backend "tile": tiles of queries times the keys around them, by matrix products with a multiplicity mask.

A tile of queries is multiplied by the whole rectangle of keys that contains its windows. Keys outside a query's window
get weight zero; a key that occurs n times in a reflected window gets weight n. Nothing is padded or unfolded; the
backward pass recomputes the attention weights.

An Inf or NaN in key or value spreads to all queries of the tiles whose rectangle contains it, a little further than
its window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.tiling import (
    CUDA_TILE,
    PAIRS_AT_ONCE,
    PAIRS_AT_ONCE_CUDA,
    Axis,
    Span,
    Strips,
    choose_tile,
    strips,
)


@dataclass(frozen=True)
class Step:
    """One batch of matrix products: images ``first .. last - 1`` of one group, one band of one set of strips."""

    group: int
    first: int
    last: int
    band: Span
    bias: Tensor  # (strips, queries, keys)


def forward(
    query: Tensor, key: Tensor, value: Tensor, *window: int, needs_gradient: bool = True
) -> tuple[Tensor, Tensor]:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns), without autograd.

    window: kernel, stride and dilation, here and below. The second result is empty: ``write_gradients`` recomputes the
    attention weights.
    """
    swapped, (query, key, value) = _larger_first(query, key, value)
    rows, columns = (Axis(size, *window) for size in key.shape[-2:])
    out = query.new_empty(*query.shape[:3], rows.queries, columns.queries)
    for part, steps in _parts(query, rows, columns):
        q = _query_strips(query, part, rows.stride)
        k, v = _key_strips(key, part), _key_strips(value, part)
        for step in steps:
            weights = _weights(_step_view(q, step, is_key=False), _step_view(k, step, is_key=True), step.bias)
            _write_tile(out, torch.bmm(weights, _step_view(v, step, is_key=True).transpose(1, 2)), step, part)
    return out.transpose(0, 1) if swapped else out, query.new_empty(0)


def write_gradients(
    grads: Sequence[Tensor], grad: Tensor, query: Tensor, key: Tensor, value: Tensor, saved: Tensor, *window: int
) -> None:
    """Write the gradients of query, key and value into ``grads``, tensors of any strides."""
    _, (grad_query, *grad_key_value, grad, query, key, value) = _larger_first(*grads, grad, query, key, value)
    rows, columns = (Axis(size, *window) for size in key.shape[-2:])
    if rows.stride > 1:
        grad_query.zero_()
    grad_sites = grad_query[..., :: rows.stride, :: rows.stride]
    strip_grads: list[tuple[Strips, Tensor, Tensor]] = []
    for part, steps in _parts(query, rows, columns):
        q, g = _query_strips(query, part, rows.stride), _query_strips(grad, part, 1)
        k, v = _key_strips(key, part), _key_strips(value, part)
        grad_k, grad_v = k.new_zeros(k.shape), v.new_zeros(v.shape)
        strip_grads.append((part, grad_k, grad_v))
        for step in steps:
            q_tile, k_tile = _step_view(q, step, is_key=False), _step_view(k, step, is_key=True)
            g_tile, v_tile = _step_view(g, step, is_key=False), _step_view(v, step, is_key=True)
            weights = _weights(q_tile, k_tile, step.bias)
            grad_weights = torch.bmm(g_tile.transpose(1, 2), v_tile)
            grad_logits = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            _step_view(grad_v, step, is_key=True).add_(torch.bmm(g_tile, weights))
            _step_view(grad_k, step, is_key=True).add_(torch.bmm(q_tile, grad_logits))
            _write_tile(grad_sites, torch.bmm(grad_logits, k_tile.transpose(1, 2)), step, part)
    _merge(strip_grads, grad_key_value)


def _larger_first(*maps: Tensor) -> tuple[bool, tuple[Tensor, ...]]:
    """Whether batch and heads were swapped, and the maps: the larger axis is batched, the smaller looped over."""
    swapped = maps[0].shape[0] < maps[0].shape[1]
    return swapped, tuple(tensor.transpose(0, 1) for tensor in maps) if swapped else maps


def _weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Attention weights of one step: (n, d, queries) and (n, d, keys) -> (n, queries, keys)."""
    logits = torch.bmm(query.transpose(1, 2), key)
    logits.view(-1, *bias.shape).add_(bias)
    return logits.softmax(dim=-1)


def _parts(query: Tensor, rows: Axis, columns: Axis) -> Iterator[tuple[Strips, Iterator[Step]]]:
    """Each set of equally wide strips, with the steps that cover it."""
    images, groups, channels = query.shape[:3]
    if query.is_cuda:
        height, width = CUDA_TILE
        at_once = PAIRS_AT_ONCE_CUDA
    else:
        height, width = choose_tile(rows, columns, images, groups, channels)
        at_once = PAIRS_AT_ONCE
    for part in strips(columns, width):
        yield part, _steps(query, rows, columns, height, part, at_once)


def _steps(query: Tensor, rows: Axis, columns: Axis, height: int, part: Strips, at_once: int) -> Iterator[Step]:
    images, groups = query.shape[:2]
    across = torch.stack([columns.log_count(span, query.dtype, query.device) for span in part.spans])
    for band in rows.cut(height):
        along = rows.log_count(band, query.dtype, query.device)
        bias = (along[:, None, :, None] + across[:, None, :, None, :]).flatten(3).flatten(1, 2)
        size = max(1, at_once // bias.numel())
        for group in range(groups):
            for first in range(0, images, size):
                yield Step(group, first, min(first + size, images), band, bias)


def _query_strips(image: Tensor, part: Strips, stride: int) -> Tensor:
    """Cut the query sites into strips: (A, G, d, H, W) -> (G, A, strips, d, rows, width)."""
    first, last = part.spans[0].start, part.spans[-1].stop
    sites = image[..., ::stride, ::stride][..., first:last]
    cut = sites.unflatten(-1, (part.count, part.width)).permute(1, 0, 4, 2, 3, 5)
    return cut.contiguous() if part.count > 1 or stride > 1 else cut


def _key_strips(image: Tensor, part: Strips) -> Tensor:
    """The columns of keys that each strip needs: (A, G, d, H, W) -> (G, A, strips, d, H, keys)."""
    cut = [image[..., span.key : span.key + span.size] for span in part.spans]
    if part.count == 1:
        return cut[0].transpose(0, 1).unsqueeze(2)
    return torch.stack([strip.transpose(0, 1) for strip in cut], dim=2)


def _step_view(strip: Tensor, step: Step, *, is_key: bool) -> Tensor:
    """The part of the strips that a step covers, as matrices (n * strips, d, positions); a view if contiguous."""
    band = step.band
    first, size = (band.key, band.size) if is_key else (band.start, band.stop - band.start)
    rows = strip[step.group, step.first : step.last].narrow(3, first, size)
    return rows.flatten(3).flatten(0, 1)


def _write_tile(out: Tensor, tile: Tensor, step: Step, part: Strips) -> None:
    """Write a tile (n * strips, queries, d) at its queries in ``out`` (A, G, d, rows, columns)."""
    band = step.band
    height = band.stop - band.start
    target = out[step.first : step.last, step.group, :, band.start : band.stop]
    target = target[..., part.spans[0].start : part.spans[-1].stop].unflatten(-1, (part.count, part.width))
    tile = tile.view(-1, part.count, height, part.width, tile.shape[-1])
    target.copy_(tile.permute(0, 4, 2, 1, 3))


def _merge(parts: list[tuple[Strips, Tensor, Tensor]], grads: Sequence[Tensor]) -> None:
    """Sum the gradients of the strips (G, A, strips, d, H, keys) into those of key and value (A, G, d, H, W)."""
    is_uncut = len(parts) == 1 and parts[0][0].count == 1 and parts[0][0].keys == grads[0].shape[-1]
    for grad in () if is_uncut else grads:
        grad.zero_()
    for part, *strip_grads in parts:
        for grad, strip_grad in zip(grads, strip_grads, strict=True):
            if is_uncut:
                grad.copy_(strip_grad[:, :, 0].transpose(0, 1))
                continue
            for number, span in enumerate(part.spans):
                grad[..., span.key : span.key + span.size] += strip_grad[:, :, number].transpose(0, 1)
