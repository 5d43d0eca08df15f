"""Tiles of queries against the keys they can see, by matrix products with a mask of multiplicities.

A tile of queries and the rectangle of keys that holds all its windows are multiplied as a whole. Keys outside
a query's window get weight zero; a key that the reflected border shows n times gets weight n. Nothing is
padded and nothing of the size (pixels x kernel^2 x channels) exists; the backward pass computes the
probabilities again.

An Inf or NaN in key or value spreads to all queries of the tiles that can see it, a little further than its
window.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

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
from acmix_exp.ops.window_attention.validation import check_first_derivative


@dataclass(frozen=True)
class Window:
    kernel: int
    stride: int
    dilation: int

    def axes(self, key: Tensor) -> tuple[Axis, Axis]:
        height, width = _ints(key.shape[-2:])
        shape = self.kernel, self.stride, self.dilation
        return Axis(height, *shape), Axis(width, *shape)


@dataclass(frozen=True)
class Step:
    """One batch of matrix products: images ``first .. last - 1`` of a group, a band of the strips."""

    group: int
    first: int
    last: int
    band: Span
    bias: Tensor  # (strips, queries, keys)


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns)."""
    window = Window(kernel, stride, dilation)
    # Batch and heads are alike here: the larger is batched, the smaller is looped over.
    swap = bool(query.shape[0] < query.shape[1])
    if swap:
        query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
        out = _Tile.apply(query, key, value, window)
    else:
        out = _forward(query, key, value, window)
    return out.transpose(0, 1) if swap else out


def forward(
    query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Without autograd: the output; nothing is kept for ``write_gradients``, which computes the weights again."""
    swap, (query, key, value) = _larger_first(query, key, value)
    out = _forward(query, key, value, Window(kernel, stride, dilation))
    return out.transpose(0, 1) if swap else out, query.new_empty(0)


def write_gradients(
    grads: Sequence[Tensor],
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: Tensor,
    kernel: int,
    stride: int,
    dilation: int,
) -> None:
    """Those of query, key and value into tensors of any strides."""
    _, (*grads, grad, query, key, value) = _larger_first(*grads, grad, query, key, value)
    _backward(grads, grad, query, key, value, Window(kernel, stride, dilation))


def _larger_first(*maps: Tensor) -> tuple[bool, tuple[Tensor, ...]]:
    """Batch and heads are alike here: the larger is batched, the smaller is looped over. Whether they were swapped."""
    swap = bool(maps[0].shape[0] < maps[0].shape[1])
    return swap, tuple(tensor.transpose(0, 1) for tensor in maps) if swap else maps


class _Tile(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.window = window  # type: ignore[attr-defined]
        return _forward(query, key, value, window)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        check_first_derivative()
        with torch.autocast(grad.device.type, enabled=False):
            query, key, value = ctx.saved_tensors  # type: ignore[attr-defined]
            grads = [torch.empty_like(tensor) for tensor in (query, key, value)]
            _backward(grads, grad, query, key, value, ctx.window)  # type: ignore[attr-defined]
            return grads[0], grads[1], grads[2], None


def _forward(query: Tensor, key: Tensor, value: Tensor, window: Window) -> Tensor:
    rows, columns = window.axes(key)
    out = query.new_empty(*query.shape[:3], rows.queries, columns.queries)
    for part, steps in _parts(query, rows, columns):
        q = _query_strips(query, part, window.stride)
        k, v = _key_strips(key, part), _key_strips(value, part)
        for step in steps:
            weights = _weights(_at(q, step, False, part), _at(k, step, True, part), step.bias)
            _put(out, torch.bmm(weights, _at(v, step, True, part).transpose(1, 2)), step, part)
    return out


def _backward(grads: Sequence[Tensor], grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: Window) -> None:
    """Write the gradients of query, key and value into ``grads``, of any strides."""
    rows, columns = window.axes(key)
    grad_query, *rest = grads
    if window.stride > 1:
        grad_query.zero_()
    grad_sites = grad_query[..., :: window.stride, :: window.stride]
    grad_keys: list[tuple[Strips, Tensor, Tensor]] = []
    for part, steps in _parts(query, rows, columns):
        q, g = _query_strips(query, part, window.stride), _query_strips(grad, part, 1)
        k, v = _key_strips(key, part), _key_strips(value, part)
        grad_k, grad_v = k.new_zeros(k.shape), v.new_zeros(v.shape)
        grad_keys.append((part, grad_k, grad_v))
        for step in steps:
            q_tile, k_tile = _at(q, step, False, part), _at(k, step, True, part)
            g_tile, v_tile = _at(g, step, False, part), _at(v, step, True, part)
            weights = _weights(q_tile, k_tile, step.bias)
            grad_weights = torch.bmm(g_tile.transpose(1, 2), v_tile)
            grad_logits = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            _at(grad_v, step, True, part).add_(torch.bmm(g_tile, weights))
            _at(grad_k, step, True, part).add_(torch.bmm(q_tile, grad_logits))
            _put(grad_sites, torch.bmm(grad_logits, k_tile.transpose(1, 2)), step, part)
    _merge(grad_keys, rest)


def _weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Attention weights of one step: (n, d, queries) and (n, d, keys) -> (n, queries, keys)."""
    logits = torch.bmm(query.transpose(1, 2), key)
    logits.view(-1, *bias.shape).add_(bias)
    return logits.softmax(dim=-1)


def _parts(query: Tensor, rows: Axis, columns: Axis) -> Iterator[tuple[Strips, Iterator[Step]]]:
    """The groups of strips, and with each the steps that cover it."""
    images, groups, channels = _ints(query.shape[:3])
    if query.is_cuda:
        height, width = CUDA_TILE
        at_once = PAIRS_AT_ONCE_CUDA
    else:
        height, width = choose_tile(rows, columns, images, groups, channels)
        at_once = PAIRS_AT_ONCE
    for part in strips(columns, width):
        yield part, _steps(query, rows, columns, height, part, at_once)


def _steps(query: Tensor, rows: Axis, columns: Axis, height: int, part: Strips, at_once: int) -> Iterator[Step]:
    images, groups = _ints(query.shape[:2])
    across = torch.stack([columns.log_count(span, query.dtype, query.device) for span in part.spans])
    for band in rows.cut(height):
        along = rows.log_count(band, query.dtype, query.device)
        bias = (along[:, None, :, None] + across[:, None, :, None, :]).flatten(3).flatten(1, 2)
        size = max(1, at_once // math.prod(_ints(bias.shape)))
        for group in range(groups):
            for first in range(0, images, size):
                yield Step(group, first, min(first + size, images), band, bias)


def _ints(shape: Iterable[int]) -> list[int]:
    """Sizes as plain numbers: while torch.jit.trace runs they are tensors, which cannot be planned with."""
    return [int(size) for size in shape]


def _query_strips(image: Tensor, part: Strips, stride: int) -> Tensor:
    """Cut the query sites into strips: (A, G, d, H, W) -> (G, A, strips, d, rows, width)."""
    first, last = part.spans[0].start, part.spans[-1].stop
    sites = image[..., ::stride, ::stride][..., first:last]
    cut = sites.unflatten(-1, (part.count, part.width)).permute(1, 0, 4, 2, 3, 5)
    return cut.contiguous() if part.count > 1 or stride > 1 else cut


def _key_strips(image: Tensor, part: Strips) -> Tensor:
    """The keys that each strip can see: (A, G, d, H, W) -> (G, A, strips, d, H, keys)."""
    cut = [image[..., span.key : span.key + span.size] for span in part.spans]
    if part.count == 1:
        return cut[0].transpose(0, 1).unsqueeze(2)
    return torch.stack([strip.transpose(0, 1) for strip in cut], dim=2)


def _at(cut: Tensor, step: Step, is_key: bool, part: Strips) -> Tensor:
    """One step's piece of the strips as matrices (n * strips, d, positions); a view of contiguous strips."""
    band = step.band
    first, size = (band.key, band.size) if is_key else (band.start, band.stop - band.start)
    piece = cut[step.group, step.first : step.last].narrow(3, first, size)
    return piece.flatten(3).flatten(0, 1)


def _put(out: Tensor, tile: Tensor, step: Step, part: Strips) -> None:
    """Write (n * strips, queries, d) where its queries lie in (A, G, d, rows, columns)."""
    band = step.band
    height = band.stop - band.start
    place = out[step.first : step.last, step.group, :, band.start : band.stop]
    place = place[..., part.spans[0].start : part.spans[-1].stop].unflatten(-1, (part.count, part.width))
    tile = tile.view(-1, part.count, height, part.width, tile.shape[-1])
    place.copy_(tile.permute(0, 4, 2, 1, 3))


def _merge(parts: list[tuple[Strips, Tensor, Tensor]], grads: Sequence[Tensor]) -> None:
    """Add the strips' gradients (G, A, strips, d, H, keys) up to those of key and value (A, G, d, H, W)."""
    whole = len(parts) == 1 and parts[0][0].count == 1 and parts[0][0].keys == grads[0].shape[-1]
    for grad in () if whole else grads:
        grad.zero_()
    for part, *cuts in parts:
        for grad, cut in zip(grads, cuts, strict=True):
            if whole:
                grad.copy_(cut[:, :, 0].transpose(0, 1))
                continue
            for at, span in enumerate(part.spans):
                grad[..., span.key : span.key + span.size] += cut[:, :, at].transpose(0, 1)
