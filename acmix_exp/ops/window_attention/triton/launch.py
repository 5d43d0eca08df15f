"""Launch arguments of the kernels: tiles, grid, sizes, precision."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size
from acmix_exp.ops.window_attention.triton import kernel_config

# Arguments that Triton must not specialise on: a network trained at several sizes then compiles each kernel once.
SIZES = ("heads", "height", "width", "rows", "columns", "tiles", "tiles_x")


class Plan:
    """The launch of one kernel ("forward", "query" or "key_value"), for a query of (B, heads, d, H, W)."""

    def __init__(self, part: str, query: Tensor, kernel: int, stride: int, dilation: int) -> None:
        self.batch, self.heads, self.d, self.height, self.width = query.shape
        self.rows, self.columns = output_size(self.height, stride), output_size(self.width, stride)
        self.reach = kernel // 2 * dilation
        # float32 products follow torch.set_float32_matmul_precision, as torch's matrix products do.
        precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
        exact = precision == "ieee" and query.dtype == torch.float32
        self.variant = kernel_config.choose_variant(self.d, kernel, exact)
        block_d = kernel_config.padded_width(self.d, self.variant)
        chosen = kernel_config.choose(self.variant, part, block_d)
        self.tile = chosen.tile_y, chosen.tile_x
        self.constants: dict[str, Any] = {
            "D": self.d,
            "BLOCK_D": block_d,
            "KERNEL": kernel,
            "STRIDE": stride,
            "DILATION": dilation,
            "TILE_Y": chosen.tile_y,
            "TILE_X": chosen.tile_x,
        }
        if self.variant == "tile":
            self.constants |= {"BLOCK": chosen.keys, "PRECISION": precision}
        self.options: dict[str, Any] = {
            "num_warps": chosen.warps,
            "num_stages": chosen.stages,
            "enable_fp_fusion": True,
        }

    @cached_property
    def once(self) -> bool:
        """Whether no tap is reflected twice."""
        return self.reach < min(self.height, self.width)

    def tiles(self, rows: int, columns: int) -> tuple[int, int]:
        return -(-rows // self.tile[0]), -(-columns // self.tile[1])

    def grid(self, rows: int, columns: int) -> tuple[int]:
        """One program per tile of the (rows, columns) of every head; the tiles of one head are consecutive."""
        down, across = self.tiles(rows, columns)
        return (down * across * self.batch * self.heads,)

    def sizes(self, rows: int, columns: int) -> tuple[float, ...]:
        """The arguments heads .. step_x of a kernel whose tiles cover (rows, columns)."""
        down, across = self.tiles(rows, columns)
        sizes = self.heads, self.height, self.width, self.rows, self.columns, down * across, across
        return *sizes, 2.0 / max(self.height - 1, 1), 2.0 / max(self.width - 1, 1)

    def mirrors(self, size: int) -> tuple[int, int]:
        """Number of mirror images of an axis that a reflected window can reach, and minus the period of the first.

        The images of pixel y are period * a + y and period * a - y for every whole a, period = 2 * size - 2.
        """
        if self.reach < size - 1:
            return 4, 0
        first = self.reach // max(2 * size - 2, 1) + 1
        return 2 * (2 * first + 2), first


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make the tensor's device current, because kernels are launched on the current device."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()
