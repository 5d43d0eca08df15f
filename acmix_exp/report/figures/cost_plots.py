"""Accuracy against what it costs at prediction."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from acmix_exp.report.figures.style import MARKERS, MUTED, legend, looks, new


def latency(table: dict[str, Any]) -> Figure | None:
    """One point a row and machine: milliseconds of different machines are never averaged. Where the summary has its
    latencies from ``task=profile``, one point a row, there."""
    profiled = any(_profiled(row) for row in table["rows"])
    machines = list(dict.fromkeys(_machine(row, run) for row, run in _timed(table)))
    if not machines:
        return None
    look = looks(table["rows"])
    figure, ((axes,),) = new(height=3.4)
    handles = []
    for row in table["rows"]:
        style, drawn = look[row["label"]], False
        for machine in machines:
            runs = [run for timed, run in _timed(table) if timed is row and _machine(row, run) == machine]
            if not runs:
                continue
            drawn = True
            times = [_milliseconds(row, run) for run in runs]
            maps = [run["metrics"]["map50_95"] for run in runs]
            marker = style.marker if len(machines) == 1 else MARKERS[machines.index(machine) % len(MARKERS)]
            axes.plot(times, maps, marker, color=style.colour, alpha=0.35, markersize=4)
            spread = stdev(maps) if len(maps) > 1 else None
            axes.errorbar(
                fmean(time for time in times if time is not None),
                fmean(maps),
                yerr=spread,
                color=style.colour,
                marker=marker,
                markersize=8,
                linewidth=1.4,
                capsize=3,
            )
        if drawn:
            marker = style.marker if len(machines) == 1 else "o"
            handles.append(Line2D([], [], color=style.colour, marker=marker, linestyle="none", label=row["label"]))
    if len(machines) > 1:
        handles += [
            Line2D(
                [], [], color=MUTED, marker=MARKERS[i % len(MARKERS)], linestyle="none", label=name or "not recorded"
            )
            for i, name in enumerate(machines)
        ]
    axes.set_xlabel("milliseconds an image, batch 1" + (", by task=profile" if profiled else ""))
    axes.set_ylabel("mAP50-95")
    axes.margins(x=0.1)
    legend(figure, handles, columns=4 if len(machines) == 1 else 2)
    return figure


def _timed(table: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The runs that have a time, each with its row."""
    return [(row, run) for row in table["rows"] for run in row["runs"] if _milliseconds(row, run) is not None]


def _profiled(row: dict[str, Any]) -> bool:
    return bool(row["summary"]["latency_from"] == "profile")


def _machine(row: dict[str, Any], run: dict[str, Any]) -> str:
    return "" if _profiled(row) else str(run["machine"])


def _milliseconds(row: dict[str, Any], run: dict[str, Any]) -> float | None:
    value = (row["summary"] if _profiled(row) else run["cost"]).get("latency_ms_b1")
    return float(value) if isinstance(value, (int, float)) else None
