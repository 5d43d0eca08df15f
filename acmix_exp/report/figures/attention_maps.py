"""Where the attention of a finished run looked: its windows, laid over the image they were taken on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from acmix_exp.report.figures.detections import SIDE, bare, same_seed, stored, windows_file
from acmix_exp.report.figures.style import INK, new

MOST_HEADS = 8
MOST_ROWS = 4  # of the table, a figure each


def windows(table: dict[str, Any]) -> list[tuple[str, Figure]]:
    """For each row with attention: the mean window of every query point, a line a site."""
    return [(label, _windows(run)) for label, run in with_windows(table)[:MOST_ROWS]]


def heads(table: dict[str, Any]) -> list[tuple[str, Figure]]:
    """For each row with attention: the heads apart, at the first query point."""
    return [(label, _heads(run)) for label, run in with_heads(table)[:MOST_ROWS]]


def with_windows(table: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(same_seed(table, "windows").items())


def with_heads(table: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(label, run) for label, run in with_windows(table) if sites_with_heads(run)]


def sites_with_heads(run: dict[str, Any]) -> list[dict[str, Any]]:
    sites = (windows_file(run) or {})["sites"]
    return [site for site in sites if site["windows"] and site["windows"][0]["heads"] is not None]


def _picture(run: dict[str, Any], data: dict[str, Any]) -> np.ndarray:
    entry = stored(run)["images"][data["image"]]
    grey = Image.open(Path(run["images"]) / entry["file"]).convert("L")
    return np.asarray(grey)


def _windows(run: dict[str, Any]) -> Figure:
    data = windows_file(run) or {}
    sites, points, picture = data["sites"], data["points"], _picture(run, data)
    count = max(len(site["windows"]) for site in sites)
    shape = picture.shape[0] / picture.shape[1]
    figure, grid = new(
        len(sites), count, width=max(SIDE * count + 0.7, 4.0), height=0.35 + len(sites) * (SIDE * shape + 0.25)
    )
    for site, line in zip(sites, grid, strict=True):
        for place, axes in enumerate(line):
            if place < len(site["windows"]):
                window = site["windows"][place]
                _window(axes, picture, site, window, np.array(window["mean"]), points[place])
            else:
                axes.set_visible(False)
        line[0].set_ylabel(f"{site['site']}\n{_kernel(site)}", fontsize=9)
    for axes, point in zip(grid[0], points, strict=False):
        axes.set_title(point["of"] or "background", fontsize=10)
    return figure


def _heads(run: dict[str, Any]) -> Figure:
    data, sites = windows_file(run) or {}, sites_with_heads(run)
    picture, point = _picture(run, data), data["points"][0]
    count = min(max(site["head"] for site in sites), MOST_HEADS)
    shape = picture.shape[0] / picture.shape[1]
    figure, grid = new(
        len(sites), count, width=max(SIDE * count + 0.7, 4.0), height=0.35 + len(sites) * (SIDE * shape + 0.25)
    )
    for site, line in zip(sites, grid, strict=True):
        window = site["windows"][0]
        for head, axes in enumerate(line):
            if head < len(window["heads"]):
                _window(axes, picture, site, window, np.array(window["heads"][head]), point)
            else:
                axes.set_visible(False)
        line[0].set_ylabel(f"{site['site']}\n{_kernel(site)}", fontsize=9)
    for head, axes in enumerate(grid[0]):
        axes.set_title(f"head {head + 1}", fontsize=10)
    return figure


def _kernel(site: dict[str, Any]) -> str:
    return f"{site['kernel_att']}x{site['kernel_att']}"


def _window(
    axes: Axes,
    picture: np.ndarray,
    site: dict[str, Any],
    window: dict[str, Any],
    weights: np.ndarray,
    point: dict[str, Any],
) -> None:
    """The image, dimmed, and over it the weight of every cell of the feature map that the window touches."""
    height, width = picture.shape
    rows, columns = site["map"]
    heat = np.zeros((rows, columns))
    even = heat.copy()
    cells = (np.array(window["rows"])[:, None], np.array(window["columns"])[None])
    # taps that the border mirrors onto one cell add up there
    np.add.at(heat, cells, weights)
    np.add.at(even, cells, 1 / weights.size)
    touched = np.ma.masked_where(heat <= 0, heat)
    (left, top), (wide, high) = site["origin"], site["cell"]
    extent = (left * width, (left + columns * wide) * width, (top + rows * high) * height, top * height)
    bare(axes)
    axes.imshow(picture, cmap="gray", vmin=-40, vmax=330)
    axes.imshow(touched, cmap="inferno", vmin=0, alpha=0.62, extent=extent, interpolation="nearest")
    axes.plot(point["x"] * width, point["y"] * height, "o", color="#56b4e9", markersize=5, markeredgecolor="white")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xlabel(f"most {heat.max():.3f}, even {even.flat[heat.argmax()]:.3f}", fontsize=7.5, color=INK, labelpad=2)
