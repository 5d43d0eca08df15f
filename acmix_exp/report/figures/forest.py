"""Paired differences to the reference, with intervals: overall, and class by class."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from acmix_exp.report.figures.style import INK, MUTED, WIDTH, legend, looks, new

MOST_CLASSES = 30
MOST_INTERVALS = 100


def forest(table: dict[str, Any]) -> Figure | None:
    rows = [row for row in table["rows"] if row["deltas"]]
    if not rows:
        return None
    look = looks(table["rows"])
    figure, ((axes,),) = new(height=0.95 + 0.46 * len(rows))
    for place, row in enumerate(rows):
        summary, colour = row["summary"], look[row["label"]].colour
        values = list(row["deltas"].values())
        axes.plot(values, [place + 0.2] * len(values), "|", color=colour, markersize=7, alpha=0.75)
        if summary["delta_low"] is not None:
            axes.plot([summary["delta_low"], summary["delta_high"]], [place, place], color=colour, linewidth=2.2)
        if summary["image_low"] is not None:
            ends = [summary["image_low"], summary["image_high"]]
            axes.plot(ends, [place - 0.2] * 2, color=colour, linewidth=1, linestyle=(0, (2, 1.5)), marker="|")
        axes.plot(summary["delta_mean"], place, look[row["label"]].marker, color=colour, markersize=7)
        axes.annotate(
            _words(summary),
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
        )
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference in mAP50-95")
    _round_zero(axes)
    return figure


def _words(summary: dict[str, Any]) -> str:
    verdict = str(summary["verdict"] or "").split(" (")[0]
    return f"{summary['delta_mean']:+.3f}  n {summary['n_paired']}\n{verdict}"


def classes(table: dict[str, Any]) -> Figure | None:
    rows = [row for row in table["rows"] if row["class_deltas"]]
    names = shown_classes(rows)
    if not names:
        return None
    look = looks(table["rows"])
    band = 0.7 / len(rows)
    figure, ((axes,),) = new(height=1.1 + len(names) * max(0.34, 0.11 * len(rows) + 0.14), width=WIDTH)
    for number, row in enumerate(rows):
        style = look[row["label"]]
        for place, name in enumerate(names):
            delta = row["class_deltas"].get(name)
            if delta is None:
                continue
            y = place + (number - (len(rows) - 1) / 2) * band
            if delta["low"] is not None:
                axes.plot([delta["low"], delta["high"]], [y, y], color=style.colour, linewidth=1.4, alpha=0.8)
            axes.plot(
                delta["mean"],
                y,
                style.marker,
                color=style.colour,
                markersize=5,
                linestyle="none",
                label=row["label"] if place == 0 else None,
            )
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference in mAP50-95")
    _round_zero(axes)
    handles, _ = axes.get_legend_handles_labels()
    legend(figure, handles)
    return figure


def all_classes(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row["class_deltas"]))


def shown_classes(rows: list[dict[str, Any]]) -> list[str]:
    """All classes in their order, or of many those that differ most."""
    names = all_classes(rows)
    most = min(MOST_CLASSES, max(MOST_INTERVALS // max(len(rows), 1), 5))
    if len(names) <= most:
        return names

    def size(name: str) -> float:
        return max(abs(row["class_deltas"][name]["mean"]) for row in rows if name in row["class_deltas"])

    kept = set(sorted(names, key=size, reverse=True)[:most])
    return [name for name in names if name in kept]


def _round_zero(axes: Any) -> None:
    """Keep zero in sight, and a little room at the ends."""
    low, high = axes.get_xlim()
    room = 0.04 * (max(high, 0) - min(low, 0))
    axes.set_xlim(min(low, -room), max(high, room))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
