"""The images that every run kept: truth and predictions side by side, and where attention looked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from acmix_exp.experiment.store import read_json
from acmix_exp.report.figures.colours import INK
from acmix_exp.report.figures.style import OTHERS, legend, new

CONFIDENCE = 0.25  # predictions below it are not drawn
MOST_COLUMNS = 7
MOST_LABELS = 6  # boxes of an image that still leave room for their confidences
MOST_CLASSES = 12  # in the legend
MOST_HEADS = 8
SIDE = 1.75  # inches of one picture


def pictures(table: dict[str, Any]) -> Figure | None:
    chosen = same_seed(table, "images")
    if not chosen:
        return None
    shown = list(chosen.items())[: MOST_COLUMNS - 1]
    stored = {label: _stored(run) for label, run in shown}
    first = next(iter(stored.values()))
    colours = _class_colours(stored.values())
    images = first["images"]
    columns, rows = 1 + len(shown), len(images)
    heights = [entry["height"] / entry["width"] for entry in images]
    figure, grid = new(
        rows,
        columns,
        width=SIDE * columns,
        height=0.55 + SIDE * sum(heights) + 0.05 * rows,
        gridspec_kw={"height_ratios": heights},
    )
    for entry, line in zip(images, grid, strict=True):
        picture = Image.open(Path(shown[0][1]["images"]) / entry["file"]).convert("RGB")
        _boxes(line[0], picture, entry, [{**box, "confidence": None} for box in entry["truth"]], colours)
        for axes, (label, _) in zip(line[1:], shown, strict=True):
            mine = next((e for e in stored[label]["images"] if e["name"] == entry["name"]), None)
            found = [box for box in (mine or {}).get("predictions", []) if box["confidence"] >= CONFIDENCE]
            _boxes(axes, picture, entry, found, colours)
            if mine is None:
                axes.set_xlabel("not stored", fontsize=8)
    for axes, text in zip(grid[0], ("ground truth", *(label for label, _ in shown)), strict=True):
        axes.set_title(text.replace(" ", "\n", 1) if len(text) > 18 else text, fontsize=10)
    handles = [
        Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in list(colours.items())[:MOST_CLASSES]
    ]
    if handles:
        legend(figure, handles, columns=max(2, columns))
    return figure


def windows(table: dict[str, Any]) -> list[tuple[str, Figure]]:
    """For each row with attention: the mean window of every query point, a line a site."""
    return [(label, _windows(run)) for label, run in same_seed(table, "windows").items()]


def heads(table: dict[str, Any]) -> list[tuple[str, Figure]]:
    """For each row with attention: the heads apart, at the first query point."""
    found = [(label, _heads(run)) for label, run in same_seed(table, "windows").items()]
    return [(label, figure) for label, figure in found if figure]


def same_seed(table: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """One run a row that stored ``kind``, all of the seed that most rows have one of, the lowest of equals."""
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in table["rows"]:
        for run in row["runs"]:
            if run[kind] and run["images"] and (kind == "images" or _windows_file(run)):
                by_seed.setdefault(run["seed"], {})[row["label"]] = run
    return max(by_seed.values(), key=len) if by_seed else {}


def _stored(run: dict[str, Any]) -> dict[str, Any]:
    return read_json(Path(run["images"]) / "images.json") or {"images": []}


def _windows_file(run: dict[str, Any]) -> dict[str, Any] | None:
    return read_json(Path(run["images"]) / "windows.json")


def _class_colours(stored: Any) -> dict[str, str]:
    boxes = [box for one in stored for entry in one["images"] for box in (*entry["truth"], *entry["predictions"])]
    names = sorted({box["class"] for box in boxes if box.get("confidence", 1) >= CONFIDENCE})
    palette = ("#d55e00", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#0072b2")
    assert set(palette) == set(OTHERS)
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def _boxes(axes: Axes, picture: Image.Image, entry: dict[str, Any], boxes: list[Any], colours: dict[str, str]) -> None:
    width, height = picture.size
    _bare(axes)
    axes.imshow(picture, interpolation="antialiased")
    for box in boxes:
        x1, y1, x2, y2 = (value * side for value, side in zip(box["box"], (width, height) * 2, strict=True))
        colour = colours[box["class"]]
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linewidth=2.2, alpha=0.7))
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.3))
        if box["confidence"] is not None and len(boxes) <= MOST_LABELS:
            axes.text(
                min(max(x1, 0), 0.85 * width),
                max(y1, 0.09 * height),
                f"{box['confidence']:.2f}",
                color="white",
                fontsize=6,
                va="bottom",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            )


def _bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _picture(run: dict[str, Any], data: dict[str, Any]) -> np.ndarray:
    entry = _stored(run)["images"][data["image"]]
    grey = Image.open(Path(run["images"]) / entry["file"]).convert("L")
    return np.asarray(grey)


def _windows(run: dict[str, Any]) -> Figure:
    data = _windows_file(run) or {}
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


def _heads(run: dict[str, Any]) -> Figure | None:
    data = _windows_file(run) or {}
    sites = [site for site in data["sites"] if site["windows"] and site["windows"][0]["heads"] is not None]
    if not sites:
        return None
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
    _bare(axes)
    axes.imshow(picture, cmap="gray", vmin=-40, vmax=330)
    axes.imshow(touched, cmap="inferno", vmin=0, alpha=0.62, extent=extent, interpolation="nearest")
    axes.plot(point["x"] * width, point["y"] * height, "o", color="#56b4e9", markersize=5, markeredgecolor="white")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xlabel(f"most {heat.max():.3f}, even {even.flat[heat.argmax()]:.3f}", fontsize=7.5, color=INK, labelpad=2)
