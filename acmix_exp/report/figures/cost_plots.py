"""Accuracy against the cost of a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from statistics import fmean, stdev
from typing import Any

from acmix_exp.report.figures.style import MARKERS, MUTED, Drawing, legend, looks, subplots
from acmix_exp.report.records import Table


def latency(table: Table) -> Iterator[Drawing]:
    """One point per row and machine, or per row if the table has its latencies from ``task=profile``."""
    profiled = any(row.cost.latency_from == "profile" for row in table.rows)
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}  # by row and machine: milliseconds and the headline
    for row in table.rows:
        for record in row.runs.records:
            result = record.result
            milliseconds = row.cost.latency_ms_b1 if profiled else result and result.cost.get("latency_ms_b1")
            if result and milliseconds:
                key = row.label, "" if profiled else record.machine
                points.setdefault(key, []).append((milliseconds, result.headline))
    machines = list(dict.fromkeys(machine for _, machine in points))
    if not machines:
        return
    look = looks(table.rows)
    figure, ((axes,),) = subplots(height=3.4)
    entries: dict[str, dict[str, Any]] = {}
    for row, (index, machine) in product(table.rows, enumerate(machines)):
        if (row.label, machine) not in points:
            continue
        style = look[row.label]
        times, maps = zip(*points[row.label, machine], strict=True)
        marker = style.marker if len(machines) == 1 else MARKERS[index % len(MARKERS)]
        spread = stdev(maps) if len(maps) > 1 else None
        options = {"color": style.colour, "marker": marker}
        axes.plot(times, maps, linestyle="none", alpha=0.35, markersize=4, **options)
        axes.errorbar(fmean(times), fmean(maps), yerr=spread, markersize=8, linewidth=1.4, capsize=3, **options)
        marker_of_row = style.marker if len(machines) == 1 else "o"
        entries[row.label] = {"color": style.colour, "marker": marker_of_row, "linestyle": "none"}
    if len(machines) > 1:
        for index, machine in enumerate(machines):
            options = {"color": MUTED, "marker": MARKERS[index % len(MARKERS)], "linestyle": "none"}
            entries[machine or "not recorded"] = options
    axes.set_xlabel("latency (ms per image, batch 1)" + (", by task=profile" if profiled else ""))
    axes.set_ylabel(table.headline)
    axes.margins(x=0.1)
    legend(figure, entries, columns=4 if len(machines) == 1 else 2)
    caption = (
        f"Headline {table.headline} against the latency of one image at batch 1. Large symbols: mean with one standard "
        "deviation; small symbols: seeds. Times of different machines are never averaged."
    )
    yield Drawing(figure, "Accuracy against latency", caption)
