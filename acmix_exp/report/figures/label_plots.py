"""What the labels of the data set are like: boxes by class, their sizes and their centres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from acmix_exp.data.label_statistics import BINS, OCTAVES, VERSION, statistics_file
from acmix_exp.files import read_json
from acmix_exp.report.figures.style import OTHERS, Drawing, NoData, legend, subplots
from acmix_exp.report.records import Record, Table

MOST_CLASSES = 20
COLOURS = dict(zip(("train", "val", "test"), (OTHERS[2], OTHERS[4], OTHERS[0]), strict=True))
PIXELS = tuple(2**power for power in range(1, 13))


def labels(table: Table) -> Iterator[Drawing]:
    records = [record for row in table.rows for record in row.runs.records]
    if not records:
        return
    stored = _stored(records)
    if not stored:
        raise NoData("the folder has no statistics of the labels, which a training stores since 0.2.0")
    first, content = next(iter(stored.values()))
    splits, imgsz = content["splits"], first.result.imgsz if first.result else None
    classes = _most_frequent(content)
    height, noun = max(2.7, 1.0 + 0.19 * len(classes)), "images" if table.classifies else "boxes"
    if table.classifies:
        figure, ((counts,),) = subplots(1, 1, width=4.6, height=height)
        counts.tick_params(labelsize=8)
        caption = ["Images of each class and split."]
    else:
        figure, ((counts, sizes, centres),) = subplots(1, 3, width=7.0, height=height, width_ratios=(1.2, 1.2, 1))
        _sizes(sizes, splits, imgsz)
        _centres(centres, splits["train"])
        for axes in (counts, sizes, centres):
            axes.tick_params(labelsize=8)
        caption = ["Boxes of each class and split; the square root of a box's area; the centres of the boxes of train."]
    _counts(counts, content, classes, noun)
    legend(figure, {split: {"color": COLOURS[split], "linewidth": 3} for split in splits})
    if len(classes) < len(content["classes"]):
        caption.append(f"Of {len(content['classes'])} classes the {len(classes)} with the most {noun} in train.")
    if len(stored) > 1:
        caption.append(f"Of {len(stored)} data sets the first.")
    boxes = {split: "" if table.classifies else f", {sum(part['boxes'])} boxes" for split, part in splits.items()}
    results = [f"{split}: {part['images']} images{boxes[split]}." for split, part in splits.items()]
    yield Drawing(figure, "Labels of the data set", " ".join(caption), " ".join(results))


def _stored(records: list[Record]) -> dict[str, tuple[Record, dict[str, Any]]]:
    """A run and the content of the file by fingerprint, for each data set that has a whole one."""
    stored = {}
    for record in records:
        fingerprint = str(record.identity.get("data"))
        if fingerprint not in stored:
            content = read_json(statistics_file(record.run.path.parent, fingerprint))
            if content and content.get("version") == VERSION:
                stored[fingerprint] = record, content
    return stored


def _most_frequent(content: Mapping[str, Any]) -> list[int]:
    """Indices of classes: all, or of many those with the most boxes in train, in the order of the data set."""
    boxes = np.array(content["splits"]["train"]["boxes"])
    return sorted(np.argsort(-boxes, kind="stable")[:MOST_CLASSES].tolist())


def _centres(axes: Axes, train: Mapping[str, Any]) -> None:
    axes.imshow(train["centres"], cmap="Blues", interpolation="none", extent=(0, 1, 1, 0), aspect="equal")
    axes.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.grid(visible=False)
    axes.set_title("centres, train", loc="left", fontsize=9)


def _counts(axes: Axes, content: Mapping[str, Any], classes: list[int], noun: str) -> None:
    splits = content["splits"]
    height = 0.8 / len(splits)
    for place, (split, part) in enumerate(splits.items()):
        y = np.arange(len(classes)) - 0.4 + (place + 0.5) * height
        axes.barh(y, [part["boxes"][index] for index in classes], height, color=COLOURS[split])
    axes.set_yticks(range(len(classes)), [content["classes"][index] for index in classes])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title(noun, loc="left", fontsize=9)


def _sizes(axes: Axes, splits: Mapping[str, Any], imgsz: int | None) -> None:
    """Shares of the boxes by size, in pixels of the network's input where its size is known."""
    side = imgsz or 1
    edges = side * 2 ** (np.arange(BINS + 1) * OCTAVES / BINS - OCTAVES)
    for split, part in splits.items():
        counts = np.array(part["sizes"], dtype=float)
        axes.stairs(100 * counts / max(counts.sum(), 1), edges, color=COLOURS[split], linewidth=1.4)
    used = np.flatnonzero(np.sum([part["sizes"] for part in splits.values()], axis=0))
    low, high = (edges[used[0]], edges[used[-1] + 1]) if len(used) else (edges[0], edges[-1])
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    if imgsz:
        ticks = [pixels for pixels in PIXELS if low <= pixels <= high]
        axes.set_xticks(ticks, [str(pixels) for pixels in ticks])
    axes.set_xlabel(f"pixels at {imgsz} px" if imgsz else "of the longer side", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.set_title("sizes, % of boxes", loc="left", fontsize=9)
