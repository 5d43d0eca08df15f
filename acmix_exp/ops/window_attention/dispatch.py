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

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import shift, tile
from acmix_exp.ops.window_attention.geometry import output_size
from acmix_exp.ops.window_attention.layout import Layout
from acmix_exp.ops.window_attention.validation import check_first_derivative

WINDOW = "int kernel, int stride, int dilation"
EmptySaved = Callable[[Tensor, int, int, int], Tensor]  # (query, *window) -> empty tensor saved for backward


def _attention_weights(query: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    layout = Layout(query.shape[3], query.shape[4], kernel, stride, dilation)
    return query.new_empty(query.shape[0], query.shape[1], kernel**2, layout.row_length)


def _nothing(query: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
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
    def _(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> tuple[Tensor, Tensor]:
        size = (output_size(pixels, stride) for pixels in query.shape[3:])
        return query.new_empty(*query.shape[:3], *size), empty_saved(query, kernel, stride, dilation)

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
        *maps, ctx.kernel, ctx.stride, ctx.dilation = inputs
        ctx.save_for_backward(*maps, output[1])
        ctx.mark_non_differentiable(output[1])

    def differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        return *backward(grad, *ctx.saved_tensors, ctx.kernel, ctx.stride, ctx.dilation), None, None, None

    forward.register_autograd(differentiate, setup_context=setup)
    return forward


SHIFT = _register("shift", shift, _attention_weights)
TILE = _register("tile", tile, _nothing)


def attend(backend: str, query: Tensor, key: Tensor, value: Tensor, *window: int) -> Tensor:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns), by "shift" or "tile"."""
    if torch.compiler.is_compiling() and not is_tracing_or_exporting():
        out: Tensor = (SHIFT if backend == "shift" else TILE)(query, key, value, *window)[0]
        return out
    return (shift if backend == "shift" else tile).attend(query, key, value, *window)
