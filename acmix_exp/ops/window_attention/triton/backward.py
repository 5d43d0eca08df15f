"""Gradients, the probabilities computed again from log-sum-exp; every sum is made in one order, without atomics."""

from __future__ import annotations

from torch import Tensor

from acmix_exp.ops.window_attention.triton.backward_key_value import key_value_kernel
from acmix_exp.ops.window_attention.triton.backward_query import query_kernel
from acmix_exp.ops.window_attention.triton.launch import Plan, on_device


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    out: Tensor,
    lse: Tensor,
    grads: tuple[Tensor, Tensor, Tensor],
    kernel: int,
    stride: int,
    dilation: int,
    scale: float,
) -> Tensor | None:
    """Fill the gradients of query (zero where no query is), key and value; return the position weight's."""
    plan = Plan(query, kernel, stride, dilation)
    delta = lse.new_empty(lse.shape)
    parts = None if weight is None else lse.new_empty(*plan.grid(plan.rows, plan.columns), plan.d, 2)
    grad_query, grad_key, grad_value = grads
    mirrors = *plan.mirrors(plan.height), *plan.mirrors(plan.width)
    with on_device(query):
        strides = [s for t in (query, key, value, out, grad, grad_query) for s in t.stride()]
        query_kernel[plan.grid(plan.rows, plan.columns)](
            query, key, value, weight, out, grad, lse, delta, grad_query, parts,
            *strides, *plan.sizes(plan.rows, plan.columns), scale,
            *plan.constants, POSITION=weight is not None, ONCE=plan.once, PRECISION=plan.precision, **plan.options,
        )  # fmt: skip
        strides = [s for t in (query, key, value, grad, grad_key, grad_value) for s in t.stride()]
        key_value_kernel[plan.grid(plan.height, plan.width)](
            query, key, value, weight, grad, lse, delta, grad_key, grad_value,
            *strides, *plan.sizes(plan.height, plan.width), scale, *mirrors,
            *plan.constants, POSITION=weight is not None, PRECISION=plan.precision, **plan.options,
        )  # fmt: skip
    return None if parts is None else parts.sum(0)
