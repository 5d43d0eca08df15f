"""Shift against tile on a CPU, for map sizes on both sides of the change in "auto".

python -m benchmarks.backend_rule
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

from benchmarks import window_attention
from benchmarks.compare import main
from benchmarks.shapes import Case

SHIFT, TILE, AUTO = (f"acmix_exp {name}" for name in ("shift", "tile", "auto"))


def cases() -> list[Case]:
    return [Case(1, 64, side, kernel) for kernel, side in product((3, 5, 7, 9), (8, 14, 20, 28, 40, 60))]


def names(device: str, compiled: bool) -> list[str]:
    return [TILE, SHIFT, AUTO]


THEME = replace(
    window_attention.THEME,
    name="backend_rule",
    title="Reflected window attention, shift against tile",
    baseline=TILE,
    ours=AUTO,
    names=names,
    sets={"cpu": cases},
)

if __name__ == "__main__":
    sys.exit(main(THEME))
