"""The table of costs in docs/blocks.md, written by ``python -m scripts.block_options``: parameters and operations."""

from __future__ import annotations

from typing import Any

from acmix_exp.block_rules import RULES
from acmix_exp.nn import block_names, build_block
from acmix_exp.nn.layers import published_flops
from benchmarks.shapes import MAPS


def variants() -> list[tuple[str, dict[str, str]]]:
    """Every block in every form, the default first; of ACmix every path."""
    cases: list[tuple[str, dict[str, str]]] = []
    for name in block_names():
        key = "path" if name == "acmix" else "form"
        option = RULES[name].options.get(key)
        values = sorted(option.choices, key=lambda value: value != option.default) if option else []
        cases += [(name, {key: value}) for value in values] or [(name, {})]
    return cases


def table() -> str:
    sizes = MAPS["n"]
    heads = [f"C {channels}, {side} x {side}" for channels, side in sizes]
    lines = [
        f"| block | form | {' | '.join(f'parameters, C {channels}' for channels, _ in sizes)} | "
        f"{' | '.join(f'GFLOPs, {head}' for head in heads)} |",
        f"| --- | --- |{' ---: |' * 6}",
    ]
    for name, options in variants():
        blocks = [build_block(name, channels, **options) for channels, _ in sizes]
        parameters = [f"{sum(p.numel() for p in block.parameters()):,}" for block in blocks]
        gflops = [_gflops(block, side) for block, (_, side) in zip(blocks, sizes, strict=True)]
        form = "".join(
            f"**{value}**" if value == RULES[name].options[key].default else value for key, value in options.items()
        )
        lines.append(f"| {name} | {form} | {' | '.join(parameters)} | {' | '.join(gflops)} |")
    return "\n".join(lines)


def _gflops(block: Any, side: int) -> str:
    """As it runs, and in brackets that of the published form where it is another."""
    counts = block.flops(side, side), published_flops(block, side, side)
    runs, published = (f"{count / 1e9:.3f}" for count in counts)
    return runs if runs == published else f"{runs} ({published})"
