"""The images that every run kept: truth and predictions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from acmix_exp.files import read_json
from acmix_exp.report.figures.style import OTHERS, legend, new

CONFIDENCE = 0.25  # predictions below it are not drawn
MOST_ROWS = 6  # of the table, a column each beside the ground truth
MOST_LABELS = 6  # boxes of an image that still leave room for their confidences
MOST_CLASSES = 12  # in the legend
SIDE = 1.75  # inches of one picture


def pictures(table: dict[str, Any]) -> Figure | None:
    chosen = same_seed(table, "images")
    if not chosen:
        return None
    shown = list(drawn(chosen).items())
    kept = {label: stored(run) for label, run in shown}
    first = next(iter(kept.values()))
    colours = class_colours(kept.values())
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
            mine = next((e for e in kept[label]["images"] if e["name"] == entry["name"]), None)
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


def same_seed(table: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """One run a row that stored ``kind``, all of the seed that most rows have one of, the lowest of equals."""
    by_seed: dict[int, dict[str, dict[str, Any]]] = {}
    for row in table["rows"]:
        for run in row["runs"]:
            if run[kind] and run["images"] and (kind == "images" or windows_file(run)):
                by_seed.setdefault(run["seed"], {})[row["label"]] = run
    return max(by_seed.values(), key=len) if by_seed else {}


def drawn(chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return dict(list(chosen.items())[:MOST_ROWS])


def stored(run: dict[str, Any]) -> dict[str, Any]:
    return read_json(Path(run["images"]) / "images.json") or {"images": []}


def windows_file(run: dict[str, Any]) -> dict[str, Any] | None:
    return read_json(Path(run["images"]) / "windows.json")


def class_colours(kept: Any) -> dict[str, str]:
    boxes = [box for one in kept for entry in one["images"] for box in (*entry["truth"], *entry["predictions"])]
    names = sorted({box["class"] for box in boxes if box.get("confidence", 1) >= CONFIDENCE})
    palette = ("#d55e00", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#0072b2")
    assert set(palette) == set(OTHERS)
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def _boxes(axes: Axes, picture: Image.Image, entry: dict[str, Any], boxes: list[Any], colours: dict[str, str]) -> None:
    width, height = picture.size
    bare(axes)
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


def bare(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
