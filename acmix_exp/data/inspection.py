"""Count a data set before anything is trained on it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.scan import Scan, orphans, scan_split
from acmix_exp.data.yolo_layout import label_path
from acmix_exp.errors import ConfigError

_MOST_CLASSES = 8  # rows; the rest is summed in the last one
_MOST_WARNINGS = 4
_ROWS = "rows 'class x_center y_center width height' in fractions of the image"


@dataclass
class Inspection:
    """Counts and faults of a data set.

    ``fingerprint`` is a sha256 over what training sees: class names, and for each split every image's path (relative to
    the folder that all images share), the bytes of its file and its boxes. A copy in another folder has the same one.
    """

    name: str
    source: Path
    images: dict[str, int] = field(default_factory=dict)  # readable ones, by split
    boxes: dict[str, int] = field(default_factory=dict)  # by split, without degenerate ones
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # boxes by split and class name
    problems: dict[str, int] = field(default_factory=dict)  # how often each problem occurs; only those that occur
    warnings: list[str] = field(default_factory=list)  # one line each, with the file and, in label files, the line
    fingerprint: str = ""


def inspect(dataset: Dataset) -> Inspection:
    """Read the data set and count it. Raises ConfigError if it cannot be trained on."""
    inspection = Inspection(dataset.name, dataset.source)
    scans = {split: scan_split(dataset, split) for split in dataset.splits}
    for split, scan in scans.items():
        _check_usable(dataset, split, scan)
        classes = np.bincount(scan.boxes[:, 0].astype(int), minlength=len(dataset.names))
        inspection.images[split] = int(scan.readable.sum())
        inspection.boxes[split] = len(scan.boxes)
        inspection.counts[split] = {name: int(classes[index]) for index, name in dataset.names.items()}
    listed = {
        "unreadable images, left out": [line for scan in scans.values() for line in scan.unreadable],
        "degenerate boxes, dropped": [line for scan in scans.values() for line in scan.degenerate],
        "boxes reaching beyond their image, kept": [line for scan in scans.values() for line in scan.outside],
        "label files with duplicate rows": [line for scan in scans.values() for line in scan.duplicates],
        "labels without image": orphans(dataset),
        "left out or clipped beforehand": list(dataset.notes),
    }
    inspection.warnings = [line for lines in listed.values() for line in lines]
    numbers = {
        **{problem: len(lines) for problem, lines in listed.items()},
        "images without label, taken as background": sum(
            int((scan.readable & ~scan.labelled).sum()) for scan in scans.values()
        ),
        "images of train that are also in val or test": _shared(scans),
        "classes without a box in train": sum(not count for count in inspection.counts["train"].values()),
    }
    inspection.problems = {problem: number for problem, number in numbers.items() if number}
    inspection.fingerprint = _fingerprint(dataset, scans)
    return inspection


def _check_usable(dataset: Dataset, split: str, scan: Scan) -> None:
    if not scan.readable.any():
        raise ConfigError(f"{dataset.setting}: no image of {split} can be read: {scan.unreadable[0]}")
    if not len(scan.boxes):
        if scan.degenerate:
            raise ConfigError(f"{dataset.setting}: no usable box in {split}: {scan.degenerate[0]}; must be {_ROWS}")
        file = dataset.shown(label_path(dataset.splits[split][0]))
        raise ConfigError(f"{dataset.setting}: no boxes in {split}; label files such as {file} must have {_ROWS}")


def _shared(scans: dict[str, Scan]) -> int:
    """Number of images of train whose bytes are also in another split, where they make the results look better."""
    contents = {split: {digest.tobytes() for digest in scan.digests[scan.readable]} for split, scan in scans.items()}
    return len(contents.pop("train") & set().union(*contents.values()))


def _fingerprint(dataset: Dataset, scans: dict[str, Scan]) -> str:
    folders = {path.parent for images in dataset.splits.values() for path in images}
    common = os.path.commonpath(folders)
    content = hashlib.sha256(repr(sorted(dataset.names.items())).encode())
    for split in sorted(scans):
        scan = scans[split]
        content.update(f"\0{split}\0".encode())
        for image, digest, boxes in zip(dataset.splits[split], scan.digests, scan.boxes_by_image(), strict=True):
            content.update(os.fsencode(os.path.relpath(image, common)) + b"\0" + digest.tobytes())
            content.update(np.ascontiguousarray(boxes, "<f4").tobytes() + b"\0")
    return content.hexdigest()


def report_table(inspection: Inspection) -> RenderableType:
    """Boxes by class and split, images, problems and the first warnings: at most a screen of 24 lines."""
    splits = list(inspection.images)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, counts in _class_rows(inspection):
        table.add_row(escape(name), *(f"{count:,}" for count in counts))
    table.add_section()
    table.add_row("boxes", *(f"{inspection.boxes[split]:,}" for split in splits))
    table.add_row("images", *(f"{inspection.images[split]:,}" for split in splits))
    title = Text(f"{inspection.name}  ({_short(inspection.source)})", overflow="ellipsis", no_wrap=True)
    lines: list[RenderableType] = [title, table]
    if inspection.problems:
        summary = "; ".join(f"{count:,} {problem}" for problem, count in inspection.problems.items())
        lines.append(Text(summary, style="yellow"))
        shown = inspection.warnings[:_MOST_WARNINGS]
        folder = f"{inspection.source if inspection.source.is_dir() else inspection.source.parent}{os.sep}"
        lines += [Text(f"  {line.removeprefix(folder)}", overflow="ellipsis", no_wrap=True) for line in shown]
        if len(inspection.warnings) > len(shown):
            lines.append(Text(f"  and {len(inspection.warnings) - len(shown):,} more"))
    else:
        lines.append(Text("no problems found", style="green"))
    lines.append(Text(f"fingerprint {inspection.fingerprint[:16]}", style="dim"))
    return Group(*lines)


def _class_rows(inspection: Inspection) -> list[tuple[str, list[int]]]:
    """Boxes by split for each class, in order; of many classes, for the most frequent in train and for all others."""
    splits = list(inspection.images)
    names = list(inspection.counts[splits[0]])
    rows = [(name, [inspection.counts[split][name] for split in splits]) for name in names]
    if len(rows) <= _MOST_CLASSES:
        return rows
    ranked = sorted(rows, key=lambda row: -row[1][0])
    rest = ranked[_MOST_CLASSES - 1 :]
    fewest, most = rest[-1][1][0], rest[0][1][0]
    label = f"{len(rest)} others ({fewest:,} to {most:,} in {splits[0]})"
    return [*ranked[: _MOST_CLASSES - 1], (label, [sum(row[1][i] for row in rest) for i in range(len(splits))])]


def _short(path: Path) -> str:
    """The path relative to the working folder if it is near."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
