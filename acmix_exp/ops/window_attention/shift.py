"""One tap after another as shifted views of the reflected map: the form for small windows.

Memory beyond the inputs is a padded copy of a few heads at a time and the kernel^2 attention weights of every
query and head, which are kept for the backward pass; no neighbourhood of channels is ever gathered.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.jit import is_tracing  # type: ignore[attr-defined]

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import gathered, unrolled
from acmix_exp.ops.window_attention.layout import Layout
from acmix_exp.ops.window_attention.validation import check_first_derivative

ELEMENTS_AT_ONCE = 1 << 19  # of a map in one block: enough for long rows, few enough for the caches of a CPU
ELEMENTS_AT_ONCE_CUDA = 1 << 30


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns)."""
    if is_tracing_or_exporting() or torch.compiler.is_compiling():
        # For ONNX and TorchScript the form that their runtimes are fast at, else the one with the fewest guards.
        form = gathered if is_tracing() or torch.onnx.is_in_onnx_export() else unrolled
        return form.attend(query, key, value, kernel, stride, dilation)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
        out: Tensor = _Shift.apply(query, key, value, (kernel, stride, dilation))
        return out
    return _forward(query, key, value, Layout(key.shape[-2], key.shape[-1], kernel, stride, dilation), None)


def forward(
    query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """Without autograd: the output, and for ``backward`` the attention weights (B, heads, kernel^2, places)."""
    layout = Layout(key.shape[-2], key.shape[-1], kernel, stride, dilation)
    kept = query.new_empty(*query.shape[:2], kernel**2, layout.places)
    return _forward(query, key, value, layout, kept), kept


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, kept: Tensor, kernel: int, stride: int, dilation: int
) -> tuple[Tensor, ...]:
    """Gradients of query, key and value."""
    grads = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
    write_gradients(grads, grad, query, key, value, kept, kernel, stride, dilation)
    return grads


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor, window: tuple[int, int, int]) -> Tensor:
        out, kept = forward(query, key, value, *window)
        ctx.save_for_backward(query, key, value, kept)
        ctx.window = window  # type: ignore[attr-defined]
        return out

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        with torch.autocast(grad.device.type, enabled=False):
            return *backward(grad, *ctx.saved_tensors, *ctx.window), None  # type: ignore[attr-defined]


def _forward(query: Tensor, key: Tensor, value: Tensor, layout: Layout, kept: Tensor | None) -> Tensor:
    out = query.new_empty(*query.shape[:3], *layout.queries)
    for block in _blocks(query, layout):
        row = layout.lay(query[block][..., :: layout.stride, :: layout.stride])
        logits = _products(row, layout.pad(key[block]), layout)
        weights = layout.clear_between(torch.softmax(logits, 2, out=None if kept is None else kept[block]))
        out[block] = layout.sites(_mix(weights, layout.pad(value[block]), layout))
    return out


def write_gradients(
    grads: Iterable[Tensor],
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: Tensor,
    kernel: int,
    stride: int,
    dilation: int,
) -> None:
    """``backward`` into tensors of any strides."""
    grad_query, grad_key, grad_value = grads
    layout = Layout(key.shape[-2], key.shape[-1], kernel, stride, dilation)
    if stride > 1:
        grad_query.zero_()
    grad_sites = grad_query[..., ::stride, ::stride]
    for block in _blocks(query, layout):
        row, grad_row = layout.lay(query[block][..., ::stride, ::stride]), layout.lay(grad[block])
        keys, values, weights = layout.pad(key[block]), layout.pad(value[block]), kept[block]
        grad_logits = torch._softmax_backward_data(_products(grad_row, values, layout), weights, 2, weights.dtype)
        layout.clear_between(grad_logits)
        grad_sites[block] = layout.sites(_mix(grad_logits, keys, layout))
        for image, factor, share in ((grad_key, row, grad_logits), (grad_value, grad_row, weights)):
            layout.fold(_spread(share, factor, torch.zeros_like(keys), layout), image[block])


def _products(row: Tensor, padded: Tensor, layout: Layout) -> Tensor:
    """Of each query (..., d, length) with what it sees under each tap: (..., kernel^2, places)."""
    out = row.new_empty(*row.shape[:2], layout.kernel**2, layout.places)
    out.narrow(-1, layout.length, layout.places - layout.length).zero_()
    product = torch.empty_like(row)
    for tap, place in zip(layout.taps(padded), out.narrow(-1, 0, layout.length).unbind(2), strict=True):
        torch.sum(torch.mul(row, tap, out=product), 2, out=place)
    return out


def _mix(shares: Tensor, padded: Tensor, layout: Layout) -> Tensor:
    """The sum over the taps of share (..., kernel^2, places) times what is seen: (..., d, places)."""
    out = padded.new_empty(*padded.shape[:3], layout.places)
    row = out.narrow(-1, 0, layout.length)
    for at, (share, tap) in enumerate(_pairs(shares, layout.taps(padded), layout)):
        if at:
            row.addcmul_(share, tap)
        else:
            torch.mul(share, tap, out=row)
    return out


def _spread(shares: Tensor, row: Tensor, out: Tensor, layout: Layout) -> Tensor:
    """The adjoint of ``_mix`` in the map: add share times row to where each tap looks; returns ``out``."""
    for share, tap in _pairs(shares, layout.taps(out), layout):
        tap.addcmul_(share, row)
    return out


def _pairs(shares: Tensor, taps: list[Tensor], layout: Layout) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(shares.narrow(-1, 0, layout.length).unsqueeze(2).unbind(3), taps, strict=True)


def _blocks(query: Tensor, layout: Layout) -> list[tuple[slice, slice]]:
    images, heads, channels = query.shape[:3]
    return layout.blocks(images, heads, channels, ELEMENTS_AT_ONCE_CUDA if query.is_cuda else ELEMENTS_AT_ONCE)
