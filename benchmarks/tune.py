"""Tile sizes, warps and stages of the Triton kernels: every candidate, timed on this GPU.

    python -m benchmarks.tune [--output FILE] [--dry-run]

Prints the best candidate per kernel beside the current one of ``triton/kernel_config.py``, and the cost of heads whose
channels are not adjacent in memory, as in ACmix. A candidate that gives a different result or does not fit the device
is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from acmix_exp.ops.window_attention.triton import kernel_config, op
from acmix_exp.ops.window_attention.triton.kernel_config import TAP_TILE, Config
from benchmarks import measure, page, provenance
from benchmarks.shapes import MAPS, Case

ROUNDS = 9
TOLERANCE = 2e-2
LAYOUT_COLUMNS = ["case", "step", "separate, µs", "one map, µs", "ratio"]
COLUMNS = ["case", "kernel", "best", "µs", "in place", "µs", "× as fast"]


def cases() -> list[Case]:
    return [Case(16, *size, kernel, "float16", "cuda") for kernel in (7, 3) for size in MAPS["n"]]


def dry_cases() -> list[Case]:
    return [Case(1, 8, 4, 3, heads=2)]


def candidates(variant: str, block_d: int) -> list[Config]:
    """Configurations to time, for heads of ``block_d`` channels in registers."""
    if variant == "tap":
        sites = [values // block_d for values in (512, 1024, 2048, 4096)]
        return [Config(*TAP_TILE[n], warps) for n in sites if n in TAP_TILE for warps in (2, 4, 8)]
    tiles = [(8, 8), (4, 8), (4, 4), (8, 16)] if block_d <= 64 else [(8, 8), (4, 8), (4, 4)]
    return [Config(*tile, *pair, keys) for tile in tiles for pair in ((4, 2), (4, 3), (8, 2)) for keys in (32, 64)]


@contextmanager
def using(part: str, chosen: Config) -> Iterator[None]:
    """Use this configuration for one kernel; the others stay."""
    rule = kernel_config.choose

    def choose(variant: str, each: str, block_d: int) -> Config:
        return chosen if each == part else rule(variant, each, block_d)

    kernel_config.choose = choose
    try:
        yield
    finally:
        kernel_config.choose = rule


def tune(case: Case, rounds: int, limit: int | None = None) -> list[dict[str, Any]]:
    """Microseconds of each candidate, one row per kernel: of the forward pass, or of the whole backward pass.

    ``limit``: number of candidates, all if None.
    """
    steps = _steps(case)
    d = case.channels // case.heads
    exact = case.dtype == "float32"
    variant = kernel_config.choose_variant(d, case.kernel, exact)
    block_d = kernel_config.padded_width(d, variant)
    rows = []
    for part in kernel_config.PARTS:
        step = steps["forward" if part == "forward" else "backward"]
        expected = step()
        in_place = kernel_config.choose(variant, part, block_d)
        listed = [in_place, *(each for each in candidates(variant, block_d) if each != in_place)]
        times: dict[str, float] = {}
        refused: dict[str, str] = {}
        for candidate in listed[:limit]:
            with using(part, candidate):
                try:
                    _check(step(), expected)
                    times[str(tuple(candidate))] = 1e3 * _median(step, case.device, rounds)
                except Exception as error:  # mostly: too large for the device
                    refused[str(tuple(candidate))] = (str(error) or repr(error)).splitlines()[0]
        row = {
            "case": case.label,
            "variant": variant,
            "part": part,
            "block_d": block_d,
            "us": times,
            "refused": refused,
        }
        rows.append({**row, "in_place": str(tuple(in_place))})
    return rows


def layouts(case: Case, rounds: int) -> dict[str, Any]:
    """Microseconds with heads from separate maps, and from the one map that ACmix projects."""
    row: dict[str, Any] = {"case": case.label}
    for name, packed in (("own", False), ("packed", True)):
        for step, call in _steps(case, packed).items():
            call()
            row[f"{step}_{name}_us"] = 1e3 * _median(call, case.device, rounds)
    return row


def _steps(case: Case, packed: bool = False) -> dict[str, Callable[[], list[Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    maps = [case.place(torch.randn(case.shape, generator=generator)) for _ in range(4)]
    query, key, value, grad = (image.unflatten(1, (case.heads, -1)) for image in maps)
    if packed:
        stack = torch.stack([query, key, value], dim=1).permute(0, 4, 5, 3, 1, 2).contiguous()
        query, key, value = stack.permute(0, 4, 5, 3, 1, 2).unbind(1)
    weight = torch.randn(query.shape[2], 2, generator=generator).to(case.device)
    window = case.kernel, 1, 1, query.shape[2] ** -0.5
    out, lse = op._forward(query, key, value, weight, *window)
    return {
        "forward": lambda: list(op._forward(query, key, value, weight, *window)),
        "backward": lambda: list(op._backward(grad, query, key, value, weight, out, lse, *window)),
    }


def _check(actual: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        error = float((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-6))
        if not error <= TOLERANCE:
            raise ArithmeticError(f"differs by {error:.1e}")


def _median(step: Callable[[], object], device: str, rounds: int) -> float:
    return statistics.median(map(measure.clock(device), [step] * rounds))


def table(rows: list[dict[str, Any]]) -> page.Grid:
    lines = []
    for row in rows:
        if row["in_place"] not in row["us"]:
            continue
        now, best = row["us"][row["in_place"]], min(row["us"], key=row["us"].__getitem__)
        numbers = [page.figure(row["us"][best]), row["in_place"], page.figure(now), page.figure(now / row["us"][best])]
        lines.append([row["case"], f"{row['variant']} {row['part']} {row['block_d']}", best, *numbers])
    return page.Grid("Candidates (tile_y, tile_x, warps, stages, keys)", COLUMNS, lines, 3)


def layout_table(rows: list[dict[str, Any]]) -> page.Grid:
    lines = []
    for row in rows:
        for step in ("forward", "backward"):
            own, packed = row[f"{step}_own_us"], row[f"{step}_packed_us"]
            lines.append([row["case"], step, page.figure(own), page.figure(packed), page.figure(packed / own)])
    return page.Grid("Heads of separate maps, and of the one map of ACmix", LAYOUT_COLUMNS, lines, 2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the measurements")
    parser.add_argument("--dry-run", action="store_true", help="a tiny map, in Triton's interpreter")
    arguments = parser.parse_args()
    if not arguments.dry_run and not torch.cuda.is_available():
        parser.error("no CUDA device; --dry-run runs on a CPU")
    if arguments.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # read when the first call imports the kernels
    rounds, limit, chosen = (1, 3, dry_cases()) if arguments.dry_run else (ROUNDS, None, cases())
    results: dict[str, Any] = {"provenance": provenance.collect(chosen[0].device)}
    results["layouts"] = [layouts(case, rounds) for case in chosen]
    results["rows"] = []
    for case in chosen:
        results["rows"] += tune(case, rounds, limit)
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for grid in (layout_table(results["layouts"]), table(results["rows"])):
        Console().print(page.terminal(grid))
    return 0


if __name__ == "__main__":
    sys.exit(main())
