"""The parser of YOLO label files, for the checks and for training: both see the same boxes.

It reads what ultralytics reads (boxes, polygons, pose rows, a byte-order mark, duplicates) with three differences: for
a degenerate box only the box is dropped, not its image; for detection a file may have boxes and polygons; and a
malformed row is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.object_forms import SLACK, FormError, form_fault, form_of, pose_remarks
from acmix_exp.model_tasks import TASKS

_TRACK = "7 columns, as trackers write (class x y w h confidence id); must be class x_center y_center width height"
_DOTA = "as DOTA's own label files have; ultralytics.data.converter.convert_dota_to_yolo_obb converts them"


class LabelError(ValueError):
    """A label file that cannot be used: ``path:line: fault; what it must be``."""


@dataclass
class Labels:
    """The boxes of one file, and its faults."""

    # float32 [n, 5]: class, centre x, centre y, width, height
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5), np.float32))
    forms: list[np.ndarray] = field(default_factory=list)  # of each box, as in ``Sample.forms``; empty for detection
    degenerate: list[str] = field(default_factory=list)  # boxes dropped, "path:line: why"
    outside: list[str] = field(default_factory=list)  # boxes kept, though they reach beyond the image
    duplicates: list[int] = field(default_factory=list)  # lines of rows that are in the file already
    polygons: bool = False  # whether a row is a polygon of more than three points
    plain: bool = False  # whether a row is a box and nothing else
    keypoints: bool = False  # whether a row has keypoints that are not used
    remarks: dict[str, list[str]] = field(default_factory=dict)  # "path:line: what is odd", see ``pose_remarks``
    track: str = ""  # fault of the first row that may be a tracker's, if the set has no polygons


def parse_labels(path: Path, text: str, dataset: Dataset) -> Labels:
    """Parse the text of a label file for the task of ``dataset``. Raises LabelError for a row that cannot be used."""
    rows: dict[tuple[float, ...], np.ndarray] = {}
    labels, classes, has_boxes = Labels(), len(dataset.names), dataset.task in ("detect", "pose")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        place = f"{path}:{number}"
        values = _numbers(place, words, dataset.task)
        _check_class(place, words[0], values[0], classes)
        try:
            form = form_of(values, dataset)
        except FormError as error:
            raise LabelError(f"{place}: {error}") from None
        row = tuple(values)
        if has_boxes and dataset.pose_values and len(values) == 5 + dataset.pose_values:
            values = values[:5]
            row = tuple(values) if form is None else row
            labels.keypoints |= form is None
        else:
            labels.plain |= len(values) == 5
        box = _box(place, values)
        labels.polygons |= len(values) > 7
        if len(values) == 7 and words[6].isdecimal() and all(-SLACK <= value <= 1 + SLACK for value in values[1:6]):
            labels.track = labels.track or f"{place}: {_TRACK}"
            if values[6] > 1:
                raise LabelError(labels.track)
        if fault := _fault(box) or (None if form is None else form_fault(form, dataset.task)):
            labels.degenerate.append(f"{place}: {fault}, box dropped")
        elif row in rows:
            labels.duplicates.append(number)
        else:
            rows[row] = np.array([values[0], *box])
            labels.forms += [] if form is None else [form]
            if form is not None and dataset.keypoints:
                for name, remark in pose_remarks(form, dataset.keypoints.values).items():
                    labels.remarks.setdefault(name, []).append(f"{place}: {remark}")
            if _reaches_beyond(box):
                labels.outside.append(f"{place}: box reaches beyond the image, kept as ultralytics keeps it")
    if rows:
        labels.boxes = np.array(list(rows.values()), np.float32)
    return labels


def _numbers(place: str, words: list[str], task: str) -> list[float]:
    values = []
    for index, word in enumerate(words):
        try:
            value = float(word)
        except ValueError:
            if word.startswith(("imagesource:", "gsd:")) or (index, len(words)) == (8, 10):
                raise LabelError(f"{place}: {word!r}, {_DOTA}") from None
            value = math.nan
        if not math.isfinite(value):
            raise LabelError(f"{place}: {word!r} is not a number; a row must be {TASKS[task].row}")
        values.append(value)
    return values


def _check_class(place: str, word: str, value: float, classes: int) -> None:
    if value != int(value):
        raise LabelError(f"{place}: class {word} is not an integer; must be 0 to {classes - 1}")
    if not 0 <= value < classes:
        raise LabelError(f"{place}: class {word} has no name; must be 0 to {classes - 1}")


def _box(place: str, values: list[float]) -> tuple[float, float, float, float]:
    """Centre x, centre y, width, height of a box row, or of the box around a polygon row."""
    if len(values) == 5:
        return values[1], values[2], values[3], values[4]
    if len(values) >= 7 and len(values) % 2:
        x, y = values[1::2], values[2::2]
        return (min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y)
    kind = ", as predictions with a confidence have" if len(values) == 6 else ""
    raise LabelError(
        f"{place}: {len(values)} columns{kind}; must be 5 (class x_center y_center width height) "
        "or those of a polygon (class x1 y1 x2 y2 x3 y3 ...)"
    )


def _fault(box: tuple[float, float, float, float]) -> str | None:
    x, y, width, height = box
    if width < 0 or height < 0:
        return f"negative size {width:g} x {height:g}"
    # In float32, as in training: a size that underflows there has no area.
    if not (np.float32(width) > 0 and np.float32(height) > 0):
        return f"zero area, size {width:g} x {height:g}"
    if not all(-SLACK <= value <= 1 + SLACK for value in box):
        return f"out of range, {x:g} {y:g} {width:g} {height:g} is not within 0 to 1"
    return None


def _reaches_beyond(box: tuple[float, float, float, float]) -> bool:
    x, y, width, height = box
    edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return not all(-SLACK <= edge <= 1 + SLACK for edge in edges)
