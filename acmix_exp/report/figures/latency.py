"""Accuracy against what it costs at prediction."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from acmix_exp.report.figures.style import MARKERS, MUTED, legend, looks, new


def latency(table: dict[str, Any]) -> Figure | None:
    """One point a row and machine: milliseconds of different machines are never averaged."""
    machines = list(dict.fromkeys(run["machine"] for run in _timed(table)))
    if not machines:
        return None
    look = looks(table["rows"])
    figure, ((axes,),) = new(height=3.4)
    handles = []
    for row in table["rows"]:
        style, drawn = look[row["label"]], False
        for machine in machines:
            runs = [run for run in row["runs"] if run["machine"] == machine and _milliseconds(run) is not None]
            if not runs:
                continue
            drawn = True
            times = [_milliseconds(run) for run in runs]
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
    axes.set_xlabel("milliseconds an image, batch 1")
    axes.set_ylabel("mAP50-95")
    axes.margins(x=0.1)
    legend(figure, handles, columns=4 if len(machines) == 1 else 2)
    return figure


def _timed(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for row in table["rows"] for run in row["runs"] if _milliseconds(run) is not None]


def _milliseconds(run: dict[str, Any]) -> float | None:
    value = run["cost"].get("latency_ms_b1")
    return float(value) if isinstance(value, (int, float)) else None
