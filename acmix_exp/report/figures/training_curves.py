"""What happened over the epochs: accuracy, and the two rates of every ACmix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from acmix_exp.report.figures.style import MUTED, WIDTH, Look, legend, looks, new

RATES = {"rate1": "attention", "rate2": "convolution"}
STROKES: dict[str, Any] = {"rate1": "solid", "rate2": (0, (3, 1.5))}


def curves(table: dict[str, Any]) -> Figure | None:
    look = looks(table["rows"])
    figure, ((axes,),) = new(height=3.5)
    handles = []
    for row in table["rows"]:
        style = look[row["label"]]
        lines = [_points(run, "map50_95") for run in row["runs"]]
        lines = [line for line in lines if line]
        for line in lines:
            axes.plot(*zip(*line, strict=True), color=style.colour, linewidth=0.8, alpha=0.4, linestyle=style.line)
            if len(line) == 1:
                axes.plot(*line[0], style.marker, color=style.colour, markersize=4, alpha=0.6)
        if mean := _mean(lines):
            axes.plot(*zip(*mean, strict=True), color=style.colour, linewidth=2, linestyle=style.line)
            handles.append(_handle(style, row["label"]))
    if not handles:
        return None
    axes.set_ylim(bottom=0)
    _epochs(axes)
    axes.set_ylabel("mAP50-95 on val")
    legend(figure, handles)
    return figure


def _epochs(axes: Any) -> None:
    axes.set_xlabel("epoch")
    low, high = axes.get_xlim()
    if high - low < 2:  # a single epoch
        axes.set_xlim(math.floor(low), math.ceil(high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def rates(table: dict[str, Any]) -> Figure | None:
    sites = _sites(table)
    if not sites:
        return None
    look = looks(table["rows"])
    columns = min(len(sites), 2)
    lines = math.ceil(len(sites) / columns)
    figure, grid = new(lines, columns, height=0.9 + 2.2 * lines, width=WIDTH, sharex=True, sharey=True)
    shown: dict[str, Any] = {}
    for site, axes in zip(sites, grid.flat, strict=False):
        for row in table["rows"]:
            for run in row["runs"]:
                for rate, line in STROKES.items():
                    points = _points(run, f"rates/{site}/{rate}")
                    if points:
                        style = look[row["label"]]
                        mark = {"marker": "."} if len(points) == 1 else {}
                        axes.plot(
                            *zip(*points, strict=True),
                            color=style.colour,
                            linewidth=1,
                            alpha=0.7,
                            linestyle=line,
                            **mark,
                        )
                        shown[row["label"]] = Line2D([], [], color=style.colour, linewidth=2, label=row["label"])
        axes.set_title(site, loc="left")
        _epochs(axes)
    for axes in list(grid.flat)[len(sites) :]:
        axes.set_visible(False)
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
    for axes in grid[:, 0]:
        axes.set_ylabel("rate")
    kinds = [
        Line2D([], [], color=MUTED, linestyle=STROKES[rate], label=f"{name} ({rate})") for rate, name in RATES.items()
    ]
    legend(figure, [*shown.values(), *kinds])
    return figure


def ratio(table: dict[str, Any]) -> Figure | None:
    """The publication's figure: which branch each depth ended up with. Pan et al., CVPR 2022, section 5."""
    look = looks(table["rows"])
    sites = [site for site in _sites(table) if any(_final(run, site) is not None for run in _runs(table))]
    if not sites:
        return None
    figure, ((axes,),) = new(height=2.9)
    handles = []
    for row in table["rows"]:
        style, drawn = look[row["label"]], False
        per_seed = [[_final(run, site) for site in sites] for run in row["runs"]]
        for values in per_seed:
            points = [(place, value) for place, value in enumerate(values) if value is not None]
            if points:
                drawn = True
                axes.plot(*zip(*points, strict=True), "o", color=style.colour, alpha=0.4, markersize=4)
        means = [
            (place, fmean(found))
            for place, _ in enumerate(sites)
            if (found := [value for values in per_seed if (value := values[place]) is not None])
        ]
        if drawn:
            axes.plot(
                *zip(*means, strict=True), color=style.colour, linewidth=2, marker=style.marker, linestyle=style.line
            )
            handles.append(_handle(style, row["label"]))
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xticks(
        range(len(sites)), sites, rotation=0 if len(sites) < 5 else 35, ha="center" if len(sites) < 5 else "right"
    )
    axes.set_xlim(-0.4, len(sites) - 0.6)
    axes.set_ylabel("ln |rate1 / rate2|")
    axes.margins(y=0.15)
    legend(figure, handles)
    return figure


def _runs(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in table["rows"]:
        yield from row["runs"]


def _sites(table: dict[str, Any]) -> list[str]:
    """Every site with a rate, in network order as the histories list them."""
    keys = dict.fromkeys(key for run in _runs(table) for key in run["history"] if key.startswith("rates/"))
    return list(dict.fromkeys(key.split("/", 1)[1].rsplit("/", 1)[0] for key in keys))


def _points(run: dict[str, Any], key: str) -> list[tuple[float, float]]:
    history = run["history"]
    pairs = zip(history.get("epoch", []), history.get(key, []), strict=False)
    return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]


def _mean(lines: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Over the seeds, at the epochs that all of them have."""
    maps = [dict(line) for line in lines]
    shared = set.intersection(*(set(line) for line in maps)) if maps else set()
    return [(epoch, fmean(line[epoch] for line in maps)) for epoch in sorted(shared)]


def _final(run: dict[str, Any], site: str) -> float | None:
    ends = [_points(run, f"rates/{site}/{rate}") for rate in RATES]
    if not all(ends):
        return None
    attention, convolution = (abs(points[-1][1]) for points in ends)
    return math.log(attention / convolution) if attention and convolution else None


def _handle(style: Look, label: str) -> Line2D:
    return Line2D([], [], color=style.colour, linestyle=style.line, linewidth=2, label=label)
