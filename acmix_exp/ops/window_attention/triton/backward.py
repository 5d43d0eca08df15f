"""Launch the gradient kernels: probabilities recomputed from log-sum-exp, every sum in a fixed order, no atomics."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from acmix_exp.ops.window_attention.triton.launch import Plan, on_device
from acmix_exp.ops.window_attention.triton.tap_backward_key_value import tap_key_value_kernel
from acmix_exp.ops.window_attention.triton.tap_backward_query import tap_query_kernel
from acmix_exp.ops.window_attention.triton.tile_backward_key_value import tile_key_value_kernel
from acmix_exp.ops.window_attention.triton.tile_backward_query import tile_query_kernel


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, out: Tensor, lse: Tensor,
    grads: tuple[Tensor, Tensor, Tensor], *window: Any,
) -> Tensor | None:  # fmt: skip
    """Fill ``grads`` of query (zero between queries), key and value; return the gradient of the position weight."""
    *shape, scale = window
    plan = Plan("query", query, *shape)
    delta = lse.new_empty(lse.shape)
    parts = None if weight is None else lse.new_empty(*plan.grid(plan.rows, plan.columns), plan.d, 2)
    grad_query, grad_key, grad_value = grads
    has_weight = weight is not None
    with on_device(query):
        kernels = {"tap": tap_query_kernel, "tile": tile_query_kernel}
        strides = [s for t in (query, key, value, out, grad, grad_query) for s in t.stride()]
        kernels[plan.variant][plan.grid(plan.rows, plan.columns)](
            query, key, value, weight, out, grad, lse, delta, grad_query, parts,
            *strides, *plan.sizes(plan.rows, plan.columns), scale,
            POSITION=has_weight, ONCE=plan.once, **plan.constants, **plan.options,
        )  # fmt: skip
        plan = Plan("key_value", query, *shape)
        kernels = {"tap": tap_key_value_kernel, "tile": tile_key_value_kernel}
        mirrors = *plan.mirrors(plan.height), *plan.mirrors(plan.width)
        strides = [s for t in (query, key, value, grad, grad_key, grad_value) for s in t.stride()]
        kernels[plan.variant][plan.grid(plan.height, plan.width)](
            query, key, value, weight, grad, lse, delta, grad_key, grad_value,
            *strides, *plan.sizes(plan.height, plan.width), scale, *mirrors,
            POSITION=has_weight, **plan.constants, **plan.options,
        )  # fmt: skip
    return None if parts is None else parts.sum(0)
