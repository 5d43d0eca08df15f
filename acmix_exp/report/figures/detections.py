"""The stored images of the runs: ground truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from PIL import Image

from acmix_exp.files import read_json
from acmix_exp.report.figures.style import Drawing, legend, subplots
from acmix_exp.report.records import Record, Table

CONFIDENCE = 0.25  # predictions below it are not drawn
MOST_ROWS = 6  # of the table, one column each beside the ground truth
MOST_IMAGES = 4
MOST_NAMES = 20  # of rows that are left out
MOST_LABELS = 6  # largest number of boxes per image for which confidences are printed
MOST_CLASSES = 12  # in the legend
SIDE = 1.75  # inches per image
PALETTE = ("#d55e00", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#0072b2")  # style.OTHERS, neighbours far apart

Content = dict[str, Any]  # of images.json or windows.json, see yolo/report_images.py


def predictions(table: Table) -> Iterator[Drawing]:
    kept = kept_by_row(table, "images.json")
    if not kept:
        return
    drawn = dict(list(kept.items())[:MOST_ROWS])
    first, content = next(iter(drawn.values()))
    images = content["images"]
    count = min(len(images), MOST_IMAGES)
    images = [images[(2 * place + 1) * len(images) // (2 * count)] for place in range(count)]
    lowest = 0.0 if table.classifies else CONFIDENCE
    colours = _class_colours((content for _, content in drawn.values()), lowest)
    heights = [entry["height"] / entry["width"] for entry in images]
    columns = 1 + len(drawn)
    height = 0.55 + SIDE * sum(heights) + 0.05 * len(images)
    ratios = {"height_ratios": heights}
    figure, grid = subplots(len(images), columns, width=SIDE * columns, height=height, gridspec_kw=ratios)
    for entry, line in zip(images, grid, strict=True):
        image = Image.open(first.run.path / "images" / Path(entry["file"]).name).convert("RGB")
        _boxes(line[0], image, [{**box, "confidence": None} for box in entry["truth"]], colours)
        for axes, (_, of_row) in zip(line[1:], drawn.values(), strict=True):
            stored = next((other for other in of_row["images"] if other["name"] == entry["name"]), None)
            boxes = [box for box in stored["predictions"] if box["confidence"] >= lowest] if stored else []
            _boxes(axes, image, boxes, colours, named=table.classifies)
            if stored is None:
                axes.set_xlabel("not stored", fontsize=8)
    for axes, text in zip(grid[0], ("ground truth", *drawn), strict=True):
        axes.set_title(text.replace(" ", "\n", 1) if len(text) > 18 else text, fontsize=10)
    if colours:
        entries = {name: {"color": colour, "linewidth": 2} for name, colour in colours.items()}
        legend(figure, dict(list(entries.items())[:MOST_CLASSES]), columns=max(2, columns))
    what = "most probable class" if table.classifies else "predictions with a confidence of at least 0.25"
    caption = [
        f"Ground truth, then each arm's {what}, of one seed. The images are "
        "spread evenly over the split and the same in every run.",
        first_of(list(kept), MOST_ROWS, "rows"),
        f"Of {len(content['images'])} images {count} are drawn." if count < len(content["images"]) else "",
    ]
    without = [row.label for row in table.rows if row.n and row.label not in kept]
    if without:
        caption.append(f"No images of seed {first.seed} were kept for {', '.join(without)}.")
    if len(colours) > MOST_CLASSES:
        caption.append(f"Of {len(colours)} classes the legend names the first {MOST_CLASSES}.")
    yield Drawing(figure, "The same images for every arm", " ".join(filter(None, caption)), vector=False)


def kept_by_row(table: Table, name: str) -> dict[str, tuple[Record, Content]]:
    """By row one run that kept images and the file ``name``, with the file's content.

    All of the seed that most rows have such a run of, the lowest of equals.
    """
    by_seed: dict[int, dict[str, tuple[Record, Content]]] = {}
    for row in table.rows:
        for record in row.runs.records:
            folder = record.run.path / "images"
            content = read_json(folder / name)
            if content and (name == "images.json" or read_json(folder / "images.json")):
                by_seed.setdefault(record.seed, {})[row.label] = (record, content)
    return max(by_seed.values(), key=len) if by_seed else {}


def first_of(labels: Sequence[str], most: int, noun: str) -> str:
    """Which rows are left out, if there are more than ``most``."""
    if len(labels) <= most:
        return ""
    others = labels[most : most + MOST_NAMES]
    more = f" and {len(labels) - most - len(others)} more" if len(labels) > most + len(others) else ""
    return f"Of {len(labels)} {noun} the first {most} are drawn, without {', '.join(others)}{more}."


def _class_colours(contents: Iterable[Content], lowest: float) -> dict[str, str]:
    entries = [entry for content in contents for entry in content["images"]]
    boxes = [box for entry in entries for box in (*entry["truth"], *entry["predictions"])]
    names = sorted({box["class"] for box in boxes if box.get("confidence", 1) >= lowest})
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def _boxes(
    axes: Axes, image: Image.Image, boxes: Sequence[Content], colours: Mapping[str, str], *, named: bool = False
) -> None:
    """named: with the classes in words."""
    width, height = image.size
    bare(axes)
    axes.imshow(image, interpolation="antialiased")
    for box in boxes:
        x1, y1, x2, y2 = (value * side for value, side in zip(box["box"], (width, height) * 2, strict=True))
        colour = colours[box["class"]]
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        if box.get("polygon"):
            corners = [(x * width, y * height) for x, y in box["polygon"]]
        axes.add_patch(Polygon(corners, fill=False, edgecolor="white", linewidth=2.2, alpha=0.7))
        axes.add_patch(Polygon(corners, fill=False, edgecolor=colour, linewidth=1.3))
        for x, y in box.get("points", ()):
            marker: dict[str, Any] = {
                "color": colour,
                "markersize": 3,
                "markeredgecolor": "white",
                "markeredgewidth": 0.5,
            }
            axes.plot(x * width, y * height, "o", **marker)
        if box["confidence"] is not None and len(boxes) <= MOST_LABELS:
            x, y = min(max(x1, 0), 0.85 * width), max(y1, 0.09 * height)
            background = {"facecolor": colour, "edgecolor": "none", "pad": 0.8}
            text = f"{box['class']} {box['confidence']:.2f}" if named else f"{box['confidence']:.2f}"
            axes.text(x, y, text, color="white", fontsize=6, va="bottom", bbox=background)


def bare(axes: Axes) -> None:
    """Remove grid, ticks and frame."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
