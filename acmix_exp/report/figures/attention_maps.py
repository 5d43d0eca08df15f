"""Attention windows of finished runs, laid over the image that they were taken on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from acmix_exp.files import read_json
from acmix_exp.report.figures.detections import SIDE, Content, bare, first_of, kept_by_row
from acmix_exp.report.figures.style import INK, Drawing, subplots
from acmix_exp.report.records import Record, Table

MOST_HEADS = 8
MOST_ROWS = 4  # of the table, one figure each


def windows(table: Table) -> Iterator[Drawing]:
    """For each row with attention: the mean window of every query point, one line per site."""
    kept = kept_by_row(table, "windows.json")
    caption = [
        "Softmax weights of the attention window, mean over the heads, laid over the image at each query point (blue "
        "dot). Below each: the largest weight of a cell, and its weight if attention were uniform.",
        first_of(list(kept), MOST_ROWS, "rows with attention"),
    ]
    for label, (record, content) in list(kept.items())[:MOST_ROWS]:
        titles = [point["of"] or "background" for point in content["points"]]
        sites = [(site, list(enumerate(window["mean"] for window in site["windows"]))) for site in content["sites"]]
        figure = _grid(record, content, titles, sites)
        yield Drawing(figure, "Where attention looks", " ".join(filter(None, caption)), label=label, vector=False)


def heads(table: Table) -> Iterator[Drawing]:
    """For each row with attention: the heads apart, at the first query point."""
    kept = {
        label: (record, content, sites)
        for label, (record, content) in kept_by_row(table, "windows.json").items()
        if (sites := [site for site in content["sites"] if site["windows"] and site["windows"][0]["heads"] is not None])
    }
    most = max((site["head"] for _, _, sites in kept.values() for site in sites), default=0)
    caption = [
        "The same windows, each head separately, at the first query point.",
        first_of(list(kept), MOST_ROWS, "rows with attention"),
        f"Of {most} heads the first {MOST_HEADS}." if most > MOST_HEADS else "",
    ]
    for label, (record, content, sites) in list(kept.items())[:MOST_ROWS]:
        titles = [f"head {head + 1}" for head in range(min(max(site["head"] for site in sites), MOST_HEADS))]
        by_site = [(site, [(0, head) for head in site["windows"][0]["heads"]]) for site in sites]
        figure = _grid(record, content, titles, by_site)
        yield Drawing(figure, "Head by head", " ".join(filter(None, caption)), label=label, vector=False)


Panel = tuple[int, Sequence[Sequence[float]]]  # index of the query point, and the weights


def _grid(
    record: Record, content: Content, titles: Sequence[str], sites: Sequence[tuple[Content, Sequence[Panel]]]
) -> Figure:
    """One line of panels per site, one column per title; panels without a title are left out."""
    folder = record.run.path / "images"
    entry = (read_json(folder / "images.json") or {})["images"][content["image"]]
    image = np.asarray(Image.open(folder / entry["file"]).convert("L"))
    height = 0.35 + len(sites) * (SIDE * image.shape[0] / image.shape[1] + 0.25)
    figure, grid = subplots(len(sites), len(titles), width=max(SIDE * len(titles) + 0.7, 4.0), height=height)
    for (site, panels), line in zip(sites, grid, strict=True):
        for axes, (query, weights) in zip(line, panels, strict=False):
            _window(axes, image, site, site["windows"][query], np.array(weights), content["points"][query])
        for axes in line[len(panels) :]:
            axes.set_visible(False)
        line[0].set_ylabel(f"{site['site']}\n{site['kernel_att']}x{site['kernel_att']}", fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10)
    return figure


def _window(axes: Axes, image: np.ndarray, site: Content, window: Content, weights: np.ndarray, point: Content) -> None:
    """The dimmed image, and over it the weight of every cell of the feature map that the window touches."""
    height, width = image.shape
    rows, columns = site["map"]
    heat, uniform = np.zeros((rows, columns)), np.zeros((rows, columns))
    cells = (np.array(window["rows"])[:, None], np.array(window["columns"])[None])
    # Taps that the border mirrors onto one cell add up there.
    np.add.at(heat, cells, weights)
    np.add.at(uniform, cells, 1 / weights.size)
    touched = np.ma.masked_where(heat <= 0, heat)
    (left, top), (cell_width, cell_height) = site["origin"], site["cell"]
    right, bottom = left + columns * cell_width, top + rows * cell_height
    extent = (left * width, right * width, bottom * height, top * height)
    bare(axes)
    axes.imshow(image, cmap="gray", vmin=-40, vmax=330)
    axes.imshow(touched, cmap="inferno", vmin=0, alpha=0.62, extent=extent, interpolation="nearest")
    axes.plot(point["x"] * width, point["y"] * height, "o", color="#56b4e9", markersize=5, markeredgecolor="white")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xlabel(
        f"max {heat.max():.3f}, uniform {uniform.flat[heat.argmax()]:.3f}", fontsize=7.5, color=INK, labelpad=2
    )
