"""The cost table: what the networks of an experiment take, before anything is trained. No torch."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

MISSING = "–"
NETWORK = (
    ("parameters", "parameters", "{:,.0f}"),
    ("of blocks", "parameters_block", "{:,.0f}"),
    ("GFLOPs", "gflops", "{:.3f}"),
    ("of blocks", "gflops_block", "{:.3f}"),
    ("ultralytics\nsays", "gflops_ultralytics", "{:.3f}"),
    ("ms\nbatch 1", "latency_ms_b1", "{:.1f}"),
    ("p95", "latency_ms_b1_p95", "{:.1f}"),
    ("not\nfused", "latency_ms_b1_unfused", "{:.1f}"),
    ("ms\nbatch 32", "latency_ms_b32", "{:.0f}"),
)


def cost_tables(profile: dict[str, Any]) -> RenderableType:
    """One row a network, then Stage I and II of every site where blocks tell them (ACmix)."""
    rows = profile["rows"]
    staged = [row for row in rows if any(site["stages"] for site in row["sites"])]
    parts: list[RenderableType] = [_networks(profile), Text()]
    if staged:
        parts += [_stages(staged), Text()]
    return Group(*parts, *map(Text, notes(profile)))


def notes(profile: dict[str, Any]) -> list[str]:
    """What the figures rest on, in sentences."""
    sizes = sorted({row["imgsz"] for row in profile["rows"]})
    threads = "" if profile["device"] == "cuda" else f", {profile['threads']} thread" + "s" * (profile["threads"] > 1)
    found = [
        "GFLOPs (2 x multiply-adds) at 640 px, our blocks counted analytically; "
        "ultralytics' counter goes by layers, on a small image scaled up: it misses or misjudges what blocks compute.",
        f"Milliseconds at {', '.join(map(str, sizes))} px on {profile['device']}{threads}, float32, fused: median of "
        "passes in which the networks take turns, p95 from 20 passes on.",
    ]
    if any(row["cost"].get("latency_ms_b32") is None for row in profile["rows"]):
        found.append("Batch 32 was not timed: it would not fit the time (profile.seconds) or the memory.")
    return found


def _networks(profile: dict[str, Any]) -> Table:
    rows = profile["rows"]
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    table = Table(title="networks", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("arm", *map(escape, swept)):
        table.add_column(name)
    for name, _, _ in NETWORK:
        table.add_column(name, justify="right")
    for row in rows:
        values = [MISSING if row["swept"].get(key) is None else str(row["swept"][key]) for key in swept]
        table.add_row(
            *map(escape, (row["arm"], *values)), *(_shown(row["cost"], key, form) for _, key, form in NETWORK)
        )
    return table


def _stages(rows: list[dict[str, Any]]) -> Table:
    """FLOPs by stage. The publication's claim is that Stage I, the projections, is nearly all of it."""
    table = Table(
        title="ACmix by stage, one image of 640 px", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False
    )
    for name in ("arm", "site", "map"):
        table.add_column(name)
    for name in (
        "parameters",
        "GFLOPs",
        "Stage I\nprojections",
        "Stage II\nattention",
        "Stage II\nconvolution",
        "MB\nmoved",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        for site in row["sites"]:
            if site["stages"]:
                table.add_row(*map(escape, _stage_cells(row, site)))
    return table


def _stage_cells(row: dict[str, Any], site: dict[str, Any]) -> list[str]:
    stages, total = site["stages"], site["flops"]
    shares = [
        f"{stages[name]['flops'] / total:.1%}" if name in stages else MISSING
        for name in ("projection", "attention", "convolution")
    ]
    moved = sum(stage["bytes"] for stage in stages.values()) / 1e6
    return [
        " ".join([row["arm"], *(f"{key}={value}" for key, value in row["swept"].items() if value is not None)]),
        site["name"],
        f"{site['height']}x{site['width']}",
        f"{site['parameters']:,}",
        f"{total / 1e9:.3f}",
        *shares,
        f"{moved:.1f}",
    ]


def _shown(cost: dict[str, Any], key: str, form: str) -> str:
    value = cost.get(key)
    return MISSING if value is None else form.format(value)
