"""Which kernels a call takes, and how much of the map a program of each of them has."""

from __future__ import annotations

from typing import NamedTuple

PARTS = ("forward", "query", "key_value")  # the kernels of one call
WALKS = ("tap", "tile")
NARROW = 16  # channels of a head up to which a product on matrix units is mostly padding
SMALL_KERNEL = 3  # of 8 x 8 queries and their 10 x 10 keys a product on matrix units uses one pair in eleven


class Config(NamedTuple):
    """A program has ``tile_y`` x ``tile_x`` sites (of keys for "key_value"), the tile walk takes ``keys`` a step."""

    tile_y: int
    tile_x: int
    warps: int = 4
    stages: int = 2
    keys: int = 32


def choose_walk(d: int, kernel: int, exact: bool) -> str:
    """ "tap": each query with each of its taps, no more. "tile": a tile of queries times all keys around it.

    The tile walk multiplies on matrix units, but multiplies more pairs than are wanted: the tap walk has the
    small windows, the narrow heads, and ``exact`` float32, for which there are no matrix units.
    """
    return "tap" if kernel <= SMALL_KERNEL or d <= NARROW or exact else "tile"


def padded_width(d: int, walk: str) -> int:
    """Channels of a head as the kernels hold them: a power of two, for matrix units 16 at least."""
    return max(16 if walk == "tile" else 4, 1 << (d - 1).bit_length())


def choose(walk: str, part: str, block_d: int) -> Config:
    """What keeps registers from spilling, found by compiling ahead; not yet measured on a GPU."""
    if walk == "tap":
        # Values of a map for each of 128 threads: 16, that is in 16-bit two loads of 16 bytes, or 8 of the more maps
        # of a gradient.
        return Config(*TAP_TILE[(2048 if part == "forward" else 1024) // block_d])
    if block_d <= 64:
        return Config(8, 8)
    return Config(4, 8) if block_d <= 128 else Config(4, 4)


TAP_TILE = {4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16), 512: (16, 32)}


def candidates(walk: str, block_d: int) -> list[Config]:
    """What is worth measuring on a GPU (``python -m benchmarks.tune``)."""
    if walk == "tap":
        sites = [values // block_d for values in (512, 1024, 2048, 4096)]
        return [Config(*TAP_TILE[n], warps) for n in sites if n in TAP_TILE for warps in (2, 4, 8)]
    tiles = [(8, 8), (4, 8), (4, 4), (8, 16)] if block_d <= 64 else [(8, 8), (4, 8), (4, 4)]
    return [Config(*tile, *pair, keys) for tile in tiles for pair in ((4, 2), (4, 3), (8, 2)) for keys in (32, 64)]
