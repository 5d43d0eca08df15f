"""Attention windows of finished runs, relative to uniform attention, over the image that they were taken on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from acmix_exp.files import read_json
from acmix_exp.report.figures.detections import SIDE, Content, bare, first_of, kept_by_row
from acmix_exp.report.figures.style import INK, Drawing, subplots
from acmix_exp.report.records import Record, Table

MOST_HEADS = 8
MOST_ROWS = 4  # of the table, one figure each
COLOURS, OPACITY = "RdBu_r", 0.62
# The scale of a figure ends between these: rounding must not be coloured as if it were attention, and a single cell
# must not take the colours from all others.
SMALLEST_END, LARGEST_END = 2.0, 10.0
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)


class Panel(NamedTuple):
    """A window: ``relative`` is the attention to each cell of the map, as :func:`times_uniform` gives it."""

    site: Content
    point: Content
    relative: np.ma.MaskedArray


class Grid(NamedTuple):
    """The panels of a row of the table: one line per site, one column per title."""

    record: Record
    content: Content
    titles: Sequence[str]
    lines: Sequence[Sequence[Panel]]


def windows(table: Table) -> Iterator[Drawing]:
    """For each row with attention: the mean window of every query point, one line per site."""
    grids: dict[str, Grid] = {}
    kept = kept_by_row(table, "windows.json")
    for label, (record, content) in list(kept.items())[:MOST_ROWS]:
        points = content["points"]
        lines = [
            [
                Panel(site, point, times_uniform(site["map"], window, window["mean"]))
                for point, window in zip(points, site["windows"], strict=False)
            ]
            for site in content["sites"]
        ]
        grids[label] = Grid(record, content, [point["of"] or "background" for point in points], lines)
    caption = [
        "Attention relative to uniform attention: the softmax weight of each cell, mean over the heads, divided by the "
        "weight that uniform attention gives that cell. White: as uniform; red: more; blue: less. Where the border "
        "reflects several taps onto one cell, both count all of them. One logarithmic scale for all panels of all "
        "rows. The dot is the query point; below each panel: the smallest and the largest value.",
        first_of(list(kept), MOST_ROWS, "rows with attention"),
    ]
    yield from _drawings(grids, "Where attention looks", " ".join(filter(None, caption)))


def heads(table: Table) -> Iterator[Drawing]:
    """For each row with attention: the heads apart, at the first query point."""
    kept = {
        label: (record, content, sites)
        for label, (record, content) in kept_by_row(table, "windows.json").items()
        if (sites := [site for site in content["sites"] if site["windows"] and site["windows"][0]["heads"] is not None])
    }
    most = max((site["head"] for _, _, sites in kept.values() for site in sites), default=0)
    grids: dict[str, Grid] = {}
    for label, (record, content, sites) in list(kept.items())[:MOST_ROWS]:
        titles = [f"head {head + 1}" for head in range(min(max(site["head"] for site in sites), MOST_HEADS))]
        lines = [
            [
                Panel(site, content["points"][0], times_uniform(site["map"], site["windows"][0], weights))
                for weights in site["windows"][0]["heads"][:MOST_HEADS]
            ]
            for site in sites
        ]
        grids[label] = Grid(record, content, titles, lines)
    caption = [
        "The same, each head separately, at the first query point. One logarithmic scale for all panels of all rows.",
        first_of(list(kept), MOST_ROWS, "rows with attention"),
        f"Of {most} heads the first {MOST_HEADS}." if most > MOST_HEADS else "",
    ]
    yield from _drawings(grids, "Head by head", " ".join(filter(None, caption)))


def times_uniform(shape: Sequence[int], window: Content, weights: Sequence[Sequence[float]]) -> np.ma.MaskedArray:
    """The attention to each cell of a map, divided by what uniform attention would give the same cell.

    shape: (H, W) of the map. window: ``rows`` and ``columns`` of the map under the taps, each [k]. weights: softmax
    weights [k, k]. Taps that the border reflects onto one cell add up there, in both. Cells without a tap are masked.
    """
    total, taps = np.zeros(shape), np.zeros(shape)
    cells = (np.array(window["rows"])[:, None], np.array(window["columns"])[None])
    share = np.array(weights, float)
    np.add.at(total, cells, share / share.mean())
    np.add.at(taps, cells, 1)
    return np.ma.array(total / np.maximum(taps, 1), mask=taps == 0)


def _drawings(grids: dict[str, Grid], title: str, caption: str) -> Iterator[Drawing]:
    values = [panel.relative for grid in grids.values() for line in grid.lines for panel in line]
    if not values:
        return
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    end = min(max(SMALLEST_END, high), LARGEST_END)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low < 1 / end, high > end))
    for label, grid in grids.items():
        figure = _figure(grid, end, extend or "neither")
        yield Drawing(figure, title, caption, label=label, vector=False)


def _figure(grid: Grid, end: float, extend: str) -> Figure:
    """The scale is from 1 / ``end`` to ``end``; ``extend``: the ends beyond which there are values."""
    scale = LogNorm(1 / end, end, clip=True)
    folder = grid.record.run.path / "images"
    entry = (read_json(folder / "images.json") or {})["images"][grid.content["image"]]
    image = np.asarray(Image.open(folder / Path(entry["file"]).name).convert("L"))
    height = 0.35 + len(grid.lines) * (SIDE * image.shape[0] / image.shape[1] + 0.25)
    width = max(SIDE * len(grid.titles) + 1.5, 4.8)
    figure, axes = subplots(len(grid.lines), len(grid.titles), width=width, height=max(height, 2.2))
    for panels, line in zip(grid.lines, axes, strict=True):
        for panel, one in zip(panels, line, strict=False):
            _draw(one, image, panel, scale)
        for one in line[len(panels) :]:
            one.set_visible(False)
        site = panels[0].site
        line[0].set_ylabel(f"{site['site']}\n{site['kernel_att']}x{site['kernel_att']}", fontsize=9)
    for one, title in zip(axes[0], grid.titles, strict=True):
        one.set_title(title, fontsize=10)
    bar = figure.colorbar(
        ScalarMappable(scale, COLOURS),
        ax=list(axes.flat),
        alpha=OPACITY,
        label="times uniform attention",
        extend=extend,
        fraction=0.05,
        aspect=30,
    )
    ticks = [tick for tick in TICKS if 1 / end <= tick <= end]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.ax.grid(visible=False)
    return figure


def _draw(axes: Axes, image: np.ndarray, panel: Panel, scale: LogNorm) -> None:
    """The dimmed image, and over it the value of every cell of the feature map that the window touches."""
    height, width = image.shape
    rows, columns = panel.site["map"]
    (left, top), (cell_width, cell_height) = panel.site["origin"], panel.site["cell"]
    right, bottom = left + columns * cell_width, top + rows * cell_height
    extent = (left * width, right * width, bottom * height, top * height)
    bare(axes)
    axes.imshow(image, cmap="gray", vmin=-40, vmax=330)
    axes.imshow(panel.relative, cmap=COLOURS, norm=scale, alpha=OPACITY, extent=extent, interpolation="nearest")
    point = panel.point["x"] * width, panel.point["y"] * height
    axes.plot(*point, "o", color=INK, markersize=4, markeredgecolor="white")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    low, high = float(panel.relative.min()), float(panel.relative.max())
    axes.set_xlabel(f"{low:.2f} to {high:.2f}", fontsize=7.5, color=INK, labelpad=2)
