"""Launch the kernels: which variant, with which tiles, grid, sizes and precision."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size
from acmix_exp.ops.window_attention.triton import kernel_config, tap_kernels, tile_kernels

KERNELS: dict[tuple[str, str], Any] = {
    ("tap", "forward"): tap_kernels.tap_forward_kernel,
    ("tap", "query"): tap_kernels.tap_query_kernel,
    ("tap", "key_value"): tap_kernels.tap_key_value_kernel,
    ("tile", "forward"): tile_kernels.tile_forward_kernel,
    ("tile", "query"): tile_kernels.tile_query_kernel,
    ("tile", "key_value"): tile_kernels.tile_key_value_kernel,
}


class Plan:
    """The launch of one kernel ("forward", "query" or "key_value"), for a query of (B, heads, d, H, W)."""

    def __init__(self, part: str, query: Tensor, kernel: int, stride: int, dilation: int, scale: float) -> None:
        self.batch, self.heads, self.d, self.height, self.width = query.shape
        self.rows, self.columns = output_size(self.height, stride), output_size(self.width, stride)
        self.reach = kernel // 2 * dilation
        self.scale, self.device = scale, query.device
        # float32 products follow torch.set_float32_matmul_precision, as torch's matrix products do.
        precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
        exact = precision == "ieee" and query.dtype == torch.float32
        variant = kernel_config.choose_variant(self.d, kernel, exact)
        self.kernel = KERNELS[variant, part]
        block_d = kernel_config.padded_width(self.d, variant)
        chosen = kernel_config.choose(variant, part, block_d)
        # One program per tile of the sites of every head; the tiles of one head are consecutive.
        sites = (self.height, self.width) if part == "key_value" else (self.rows, self.columns)
        self.tiles_y, self.tiles_x = -(-sites[0] // chosen.tile_y), -(-sites[1] // chosen.tile_x)
        self.programs = self.tiles_y * self.tiles_x * self.batch * self.heads
        self.constants: dict[str, Any] = {
            "D": self.d,
            "BLOCK_D": block_d,
            "KERNEL": kernel,
            "STRIDE": stride,
            "DILATION": dilation,
            "TILE_Y": chosen.tile_y,
            "TILE_X": chosen.tile_x,
            "num_warps": chosen.warps,
            "num_stages": chosen.stages,
            "enable_fp_fusion": True,
        }
        if variant == "tile":
            self.constants |= {"BLOCK": chosen.keys, "PRECISION": precision}
        if part != "key_value":
            self.constants["ONCE"] = self.reach < min(self.height, self.width)  # no tap is reflected twice

    def launch(self, tensors: list[Tensor | None], strided: list[Tensor], *mirrors: int, position: bool) -> None:
        """Launch the kernel; ``strided`` are those that the kernel takes with their strides."""
        strides = [stride for tensor in strided for stride in tensor.stride()]
        sizes = self.heads, self.height, self.width, self.rows, self.columns, self.tiles_y * self.tiles_x, self.tiles_x
        steps = 2.0 / max(self.height - 1, 1), 2.0 / max(self.width - 1, 1)
        # Kernels are launched on the current device.
        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            self.kernel[(self.programs,)](
                *tensors, *strides, *sizes, *steps, self.scale, *mirrors, POSITION=position, **self.constants
            )

    def mirrors(self, size: int) -> tuple[int, int]:
        """Number of mirror images of an axis that a reflected window can reach, and minus the period of the first.

        The images of pixel y are period * a + y and period * a - y for every whole a, period = 2 * size - 2.
        """
        if self.reach < size - 1:
            return 4, 0
        first = self.reach // max(2 * size - 2, 1) + 1
        return 2 * (2 * first + 2), first


def forward(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, out: Tensor, lse: Tensor, *window: Any
) -> None:
    """Fill ``out`` (B, heads, d, rows, columns), any strides, and ``lse`` (B, heads, rows, columns), log to base 2."""
    plan = Plan("forward", query, *window)
    plan.launch([query, key, value, weight, out, lse], [query, key, value, out], position=weight is not None)


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    out: Tensor,
    lse: Tensor,
    grads: tuple[Tensor, Tensor, Tensor],
    *window: Any,
) -> Tensor | None:
    """Fill ``grads`` of query (zero between queries), key and value; return the gradient of the position weight.

    Probabilities are recomputed from log-sum-exp; every sum has a fixed order, without atomics.
    """
    has_weight = weight is not None
    delta = torch.empty_like(lse)
    grad_query, *grad_key_value = grads
    plan = Plan("query", query, *window)
    parts = lse.new_empty(plan.programs, plan.d, 2) if has_weight else None
    tensors = [query, key, value, weight, out, grad, lse, delta, grad_query, parts]
    plan.launch(tensors, [query, key, value, out, grad, grad_query], position=has_weight)
    plan = Plan("key_value", query, *window)
    tensors = [query, key, value, weight, grad, lse, delta, *grad_key_value]
    mirrors = *plan.mirrors(plan.height), *plan.mirrors(plan.width)
    plan.launch(tensors, [query, key, value, grad, *grad_key_value], *mirrors, position=has_weight)
    return None if parts is None else parts.sum(0)
