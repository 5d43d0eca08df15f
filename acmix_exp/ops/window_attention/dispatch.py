"""Call the backends "shift" and "tile": as custom operators under torch.compile, as plain functions otherwise.

torch.compile would unroll their loops over taps and tiles into hundreds of nodes and fix the tile plan to one size. As
custom operators they are one node each, forward and backward, for every size. An exported graph holds the plain form
of "shift" instead, so that it does not depend on this package.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import shift, tile
from acmix_exp.ops.window_attention.geometry import output_size
from acmix_exp.ops.window_attention.layout import Layout
from acmix_exp.ops.window_attention.recorded import attend_gathered, attend_unrolled
from acmix_exp.ops.window_attention.validation import check_first_derivative

WINDOW = "int kernel, int stride, int dilation"
EmptySaved = Callable[..., Tensor]  # (query, *window) -> empty tensor saved for backward


def _attention_weights(query: Tensor, *window: int) -> Tensor:
    layout = Layout(*query.shape[3:], *window)
    return query.new_empty(*query.shape[:2], layout.kernel**2, layout.row_length)


def _nothing(query: Tensor, *window: int) -> Tensor:
    return query.new_empty(0)


def _register(name: str, backend: ModuleType, empty_saved: EmptySaved) -> Callable[..., Any]:
    @torch.library.custom_op(
        f"acmix_exp::{name}",
        mutates_args=(),
        schema=f"(Tensor query, Tensor key, Tensor value, {WINDOW}) -> (Tensor, Tensor)",
    )
    def forward(query: Tensor, key: Tensor, value: Tensor, *window: int) -> tuple[Tensor, Tensor]:
        out, saved = backend.forward(query, key, value, *window)
        return out.contiguous(), saved.contiguous()

    @forward.register_fake
    def _(query: Tensor, key: Tensor, value: Tensor, *window: int) -> tuple[Tensor, Tensor]:
        size = (output_size(pixels, window[1]) for pixels in query.shape[3:])
        return query.new_empty(*query.shape[:3], *size), empty_saved(query, *window)

    @torch.library.custom_op(
        f"acmix_exp::{name}_backward",
        mutates_args=(),
        schema=f"(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor saved, {WINDOW}) "
        "-> (Tensor, Tensor, Tensor)",
    )
    def backward(
        grad: Tensor, query: Tensor, key: Tensor, value: Tensor, saved: Tensor, *window: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        grads = query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)
        backend.write_gradients(grads, grad, query, key, value, saved, *window)
        return grads

    @backward.register_fake
    def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *maps, kernel, stride, dilation = inputs
        ctx.window = kernel, stride, dilation
        ctx.save_for_backward(*maps, output[1])
        ctx.mark_non_differentiable(output[1])

    def differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        return *backward(grad, *ctx.saved_tensors, *ctx.window), None, None, None

    forward.register_autograd(differentiate, setup_context=setup)
    return forward


MODULES = {"shift": shift, "tile": tile}
OPERATORS = {"shift": _register("shift", shift, _attention_weights), "tile": _register("tile", tile, _nothing)}


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, window: tuple[int, ...], backend: ModuleType
    ) -> Tensor:
        out: Tensor
        out, saved = backend.forward(query, key, value, *window)
        ctx.save_for_backward(query, key, value, saved)
        ctx.window, ctx.backend = window, backend
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        with torch.autocast(grad.device.type, enabled=False):
            *maps, saved = ctx.saved_tensors
            grads = [torch.empty_like(tensor) for tensor in maps]
            ctx.backend.write_gradients(grads, grad, *maps, saved, *ctx.window)
            return *grads, None, None


def attend(backend: str, query: Tensor, key: Tensor, value: Tensor, *window: int) -> Tensor:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns), by "shift" or "tile".

    In a recorded graph it is a plain form of "shift".
    """
    if is_tracing_or_exporting():
        form = attend_gathered if is_tracing() or torch.onnx.is_in_onnx_export() else attend_unrolled
        return form(query, key, value, *window)
    out: Tensor
    if torch.compiler.is_compiling():
        out = OPERATORS[backend](query, key, value, *window)[0]
    elif torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
        out = _Attention.apply(query, key, value, window, MODULES[backend])
    else:
        out = MODULES[backend].forward(query, key, value, *window, needs_gradient=False)[0]
    return out
