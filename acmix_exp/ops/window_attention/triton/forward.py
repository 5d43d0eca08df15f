"""Launch the forward kernel: output and log-sum-exp."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from acmix_exp.ops.window_attention.triton.launch import Plan, on_device
from acmix_exp.ops.window_attention.triton.tap_forward import tap_forward_kernel
from acmix_exp.ops.window_attention.triton.tile_forward import tile_forward_kernel


def forward(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, out: Tensor, lse: Tensor, *window: Any
) -> None:
    """Fill ``out`` (B, heads, d, rows, columns), any strides, and ``lse`` (B, heads, rows, columns), log to base 2."""
    *shape, scale = window
    plan = Plan("forward", query, *shape)
    kernels = {"tap": tap_forward_kernel, "tile": tile_forward_kernel}
    strides = [s for tensor in (query, key, value, out) for s in tensor.stride()]
    with on_device(query):
        kernels[plan.variant][plan.grid(plan.rows, plan.columns)](
            query, key, value, weight, out, lse, *strides, *plan.sizes(plan.rows, plan.columns), scale,
            POSITION=weight is not None, ONCE=plan.once, **plan.constants, **plan.options,
        )  # fmt: skip
