"""The kernels as custom operators of torch. triton is imported by a call, not by this module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size
from acmix_exp.ops.window_attention.validation import check_first_derivative

WINDOW = "int kernel, int stride, int dilation, float scale"


def attend(query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, *window: Any) -> Tensor:
    """(B, heads, d, H, W) each, any strides, and float32 (d, 2) or (d, 2, 1, 1) -> (B, heads, d, rows, columns).

    window: kernel, stride, dilation and scale, here and below. The output is channels-last in memory if the query is.
    """
    if weight is not None:
        weight = weight.flatten(1).contiguous()
    out: Tensor = _forward(query, key, value, weight, *window)[0]
    return out


def _outputs(query: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Empty output and its log-sum-exp (B, heads, rows, columns)."""
    batch, heads, d, height, width = query.shape
    rows, columns = output_size(height, stride), output_size(width, stride)
    if query.stride(2) == 1 and query.stride(4) != 1:
        out = query.new_empty(batch, rows, columns, heads, d).permute(0, 3, 4, 1, 2)
    else:
        out = query.new_empty(batch, heads, d, rows, columns)
    return out, query.new_empty(batch, heads, rows, columns, dtype=torch.float32)


def _gradients(query: Tensor, key: Tensor, value: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Empty gradients; that of the query is zero at pixels between queries (stride > 1)."""
    grad_query = torch.zeros_like(query) if stride > 1 else torch.empty_like(query)
    return grad_query, torch.empty_like(key), torch.empty_like(value)


@torch.library.custom_op(
    "acmix_exp::window_attention",
    mutates_args=(),
    schema=f"(Tensor query, Tensor key, Tensor value, Tensor? weight, {WINDOW}) -> (Tensor, Tensor)",
)
def _forward(query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, *window: Any) -> tuple[Tensor, Tensor]:
    from acmix_exp.ops.window_attention.triton.launch import forward

    out, lse = _outputs(query, window[1])
    if query.numel():
        forward(query, key, value, weight, out, lse, *window)
    return out, lse


@_forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, kernel: int, stride: int, *_: Any) -> Any:
    return _outputs(query, stride)


@torch.library.custom_op(
    "acmix_exp::window_attention_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor? weight, Tensor out, Tensor lse, "
    f"{WINDOW}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    out: Tensor,
    lse: Tensor,
    *window: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and weight; the last is empty if there is no weight."""
    from acmix_exp.ops.window_attention.triton.launch import backward

    grads = _gradients(query, key, value, window[1])
    if query.numel():
        grad_weight = backward(grad, query, key, value, weight, out, lse, grads, *window)
    else:
        grad_weight = None if weight is None else torch.zeros_like(weight)
    return *grads, lse.new_empty(0) if grad_weight is None else grad_weight


@_backward.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, *options: Any) -> Any:
    lse, stride = options[1], options[3]
    grad_weight = lse.new_empty(0) if weight is None else torch.empty_like(weight)
    return *_gradients(query, key, value, stride), grad_weight


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, weight, *options = inputs
    ctx.save_for_backward(query, key, value, weight, *output)
    ctx.options = options


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    check_first_derivative()
    *grads, grad_weight = _backward(grad, *ctx.saved_tensors, *ctx.options)
    has_weight = ctx.saved_tensors[3] is not None
    return *grads, grad_weight if has_weight else None, None, None, None, None


_forward.register_autograd(_differentiate, setup_context=_setup)
