"""Accuracy against the cost of a prediction."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any

from matplotlib.lines import Line2D

from acmix_exp.report.figures.style import MARKERS, MUTED, Drawing, legend, looks, subplots
from acmix_exp.report.records import Record, Row, Table


def latency(table: Table) -> Iterator[Drawing]:
    """One point per row and machine, or per row if the table has its latencies from ``task=profile``."""
    timed = [(row, record) for row in table.rows for record in row.runs.records if _milliseconds(row, record)]
    machines = list(dict.fromkeys(_machine(row, record) for row, record in timed))
    if not machines:
        return
    look = looks(table.rows)
    figure, ((axes,),) = subplots(height=3.4)
    handles = []
    for row in table.rows:
        style = look[row.label]
        for index, machine in enumerate(machines):
            records = [record for other, record in timed if other is row and _machine(row, record) == machine]
            if not records:
                continue
            times = [_milliseconds(row, record) for record in records]
            maps = [record.result.map50_95 for record in records if record.result]
            marker = style.marker if len(machines) == 1 else MARKERS[index % len(MARKERS)]
            axes.plot(times, maps, marker, color=style.colour, alpha=0.35, markersize=4)
            axes.errorbar(
                fmean(times),
                fmean(maps),
                yerr=stdev(maps) if len(maps) > 1 else None,
                color=style.colour,
                marker=marker,
                markersize=8,
                linewidth=1.4,
                capsize=3,
            )
        if any(other is row for other, _ in timed):
            marker = style.marker if len(machines) == 1 else "o"
            handles.append(Line2D([], [], color=style.colour, marker=marker, linestyle="none", label=row.label))
    if len(machines) > 1:
        options: dict[str, Any] = {"color": MUTED, "linestyle": "none"}
        handles += [
            Line2D([], [], marker=MARKERS[index % len(MARKERS)], label=machine or "not recorded", **options)
            for index, machine in enumerate(machines)
        ]
    profiled = any(_is_profiled(row) for row in table.rows)
    axes.set_xlabel("latency (ms per image, batch 1)" + (", by task=profile" if profiled else ""))
    axes.set_ylabel("mAP50-95")
    axes.margins(x=0.1)
    legend(figure, handles, columns=4 if len(machines) == 1 else 2)
    title = "Accuracy against latency"
    caption = (
        "Headline mAP50-95 against the latency of one image at batch 1. Large symbols: mean with one standard "
        "deviation; small symbols: seeds. Times of different machines are never averaged."
    )
    yield Drawing(figure, title, caption, f"{title}.")


def _is_profiled(row: Row) -> bool:
    return row.cost.latency_from == "profile"


def _machine(row: Row, record: Record) -> str:
    return "" if _is_profiled(row) else record.machine


def _milliseconds(row: Row, record: Record) -> float:
    """0 if unknown."""
    value = row.cost.latency_ms_b1 if _is_profiled(row) else record.result and record.result.cost.get("latency_ms_b1")
    return float(value) if isinstance(value, (int, float)) else 0.0
