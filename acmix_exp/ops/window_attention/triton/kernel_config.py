"""The rules that choose the kernel variant of a call, and the tile and warps of each kernel."""

from __future__ import annotations

from typing import NamedTuple

PARTS = ("forward", "query", "key_value")  # the kernels of one call: output, two gradients
VARIANTS = ("tap", "tile")
NARROW = 16  # head width up to which a product on matrix units is mostly padding
SMALL_KERNEL = 3  # for 8 x 8 queries and their 10 x 10 keys a matrix product uses one pair in eleven
TAP_TILE = {4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16), 512: (16, 32)}


class Config(NamedTuple):
    """A program computes ``tile_y`` x ``tile_x`` queries (keys for "key_value"); "tile" loads ``keys`` per step."""

    tile_y: int
    tile_x: int
    warps: int = 4
    stages: int = 2
    keys: int = 32


def choose_variant(d: int, kernel: int, exact: bool) -> str:
    """The variant for heads of ``d`` channels: "tap" or "tile".

    "tile" uses matrix units but multiplies more pairs than needed. "tap" is for small windows, narrow heads, and
    ``exact`` float32, for which there are no matrix units.
    """
    return "tap" if kernel <= SMALL_KERNEL or d <= NARROW or exact else "tile"


def padded_width(d: int, variant: str) -> int:
    """Channels of a head in a kernel's registers: a power of two, at least 16 for matrix units."""
    return max(16 if variant == "tile" else 4, 1 << (d - 1).bit_length())


def choose(variant: str, part: str, block_d: int) -> Config:
    """A configuration that does not spill registers, found by ahead-of-time compilation; not measured on a GPU."""
    if variant == "tap":
        # 16 values of a map for each of 128 threads (in 16 bits: two loads of 16 bytes); 8 in the gradient kernels,
        # which hold more maps.
        return Config(*TAP_TILE[(2048 if part == "forward" else 1024) // block_d])
    if block_d <= 64:
        return Config(8, 8)
    return Config(4, 8) if block_d <= 128 else Config(4, 4)
