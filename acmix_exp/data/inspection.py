"""Counting a data set before anything is trained on it."""

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

_MOST_CLASSES = 8  # rows; the rest is summed up in one
_MOST_WARNINGS = 4


@dataclass
class Inspection:
    """What a data set holds and what is wrong with it.

    ``fingerprint`` is a sha256 over the content training sees: class names, and for each split every image's
    path (relative to the folder all images share), all bytes of its file and its boxes. A copy elsewhere has
    the same one.
    """

    name: str
    source: Path
    images: dict[str, int] = field(default_factory=dict)  # by split, readable ones
    boxes: dict[str, int] = field(default_factory=dict)  # by split, degenerate ones not counted
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # boxes by split and class name
    problems: dict[str, int] = field(default_factory=dict)  # kind of problem: how many; only kinds that occur
    warnings: list[str] = field(default_factory=list)  # one line each, with file and line where there is one
    fingerprint: str = ""


def inspect(dataset: Dataset) -> Inspection:
    """Read the data set and count it. Raises ConfigError where it cannot be trained on."""
    found = Inspection(dataset.name, dataset.source)
    scans = {split: scan_split(dataset, split) for split in dataset.splits}
    for split, scan in scans.items():
        _check_usable(dataset, split, scan)
        classes = np.bincount(scan.boxes[:, 0].astype(int), minlength=len(dataset.names))
        found.images[split] = int(scan.readable.sum())
        found.boxes[split] = len(scan.boxes)
        found.counts[split] = {name: int(classes[index]) for index, name in dataset.names.items()}
    listed = {
        "unreadable images, left out": [line for scan in scans.values() for line in scan.unreadable],
        "degenerate boxes, dropped": [line for scan in scans.values() for line in scan.degenerate],
        "boxes reaching beyond their image, kept": [line for scan in scans.values() for line in scan.outside],
        "label files with duplicate rows": [line for scan in scans.values() for line in scan.duplicates],
        "labels without image": orphans(dataset),
        "left out or clipped beforehand": list(dataset.notes),
    }
    found.problems = {kind: len(lines) for kind, lines in listed.items() if lines}
    found.warnings = [line for lines in listed.values() for line in lines]
    unlabelled = sum(int((scan.readable & ~scan.labelled).sum()) for scan in scans.values())
    _count(found, "images without label, taken as background", unlabelled)
    _count(found, "images of train that are also in val or test", _shared(scans))
    unseen = [name for name, count in found.counts["train"].items() if not count]
    _count(found, "classes without a box in train", len(unseen))
    found.fingerprint = _fingerprint(dataset, scans)
    return found


def _count(found: Inspection, kind: str, count: int) -> None:
    if count:
        found.problems[kind] = count


def _check_usable(dataset: Dataset, split: str, scan: Scan) -> None:
    if not scan.readable.any():
        raise ConfigError(f"{dataset.setting}: no image of {split} can be read: {scan.unreadable[0]}")
    if not len(scan.boxes):
        if scan.degenerate:
            raise ConfigError(
                f"{dataset.setting}: no usable box in {split}: {scan.degenerate[0]}; right are rows "
                "'class x_center y_center width height' in fractions of the image"
            )
        place = label_path(dataset.splits[split][0])
        raise ConfigError(
            f"{dataset.setting}: no boxes in {split}; right are rows 'class x_center y_center width height' "
            f"in label files such as {place}"
        )


def _shared(scans: dict[str, Scan]) -> int:
    """Images of train whose bytes occur in another split too: they flatter what is measured there."""
    train = _contents(scans["train"])
    others = {content for split, scan in scans.items() if split != "train" for content in _contents(scan)}
    return len(train & others)


def _contents(scan: Scan) -> set[bytes]:
    return {digest.tobytes() for digest in scan.digests[scan.readable]}


def _fingerprint(dataset: Dataset, scans: dict[str, Scan]) -> str:
    folders = {path.parent for images in dataset.splits.values() for path in images}
    shared = os.path.commonpath(folders)
    content = hashlib.sha256(repr(sorted(dataset.names.items())).encode())
    for split in sorted(scans):
        scan = scans[split]
        content.update(f"\0{split}\0".encode())
        for image, digest, boxes in zip(dataset.splits[split], scan.digests, scan.boxes_by_image(), strict=True):
            content.update(os.fsencode(os.path.relpath(image, shared)) + b"\0" + digest.tobytes())
            content.update(np.ascontiguousarray(boxes, "<f4").tobytes() + b"\0")
    return content.hexdigest()


def report_table(inspection: Inspection) -> RenderableType:
    """Boxes by class and split, images, problems and the first warnings: at most a screen of 24 lines."""
    splits = list(inspection.images)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    rows = _class_rows(inspection)
    for name, counts in rows:
        table.add_row(escape(name), *(f"{count:,}" for count in counts))
    table.add_section()
    table.add_row("boxes", *(f"{inspection.boxes[split]:,}" for split in splits))
    table.add_row("images", *(f"{inspection.images[split]:,}" for split in splits))
    title = Text(f"{inspection.name}  ({_short(inspection.source)})", overflow="ellipsis", no_wrap=True)
    lines: list[RenderableType] = [title, table]
    if inspection.problems:
        summary = "; ".join(f"{count:,} {kind}" for kind, count in inspection.problems.items())
        lines.append(Text(summary, style="yellow"))
        shown = inspection.warnings[:_MOST_WARNINGS]
        place = f"{inspection.source if inspection.source.is_dir() else inspection.source.parent}{os.sep}"
        lines += [Text(f"  {line.removeprefix(place)}", overflow="ellipsis", no_wrap=True) for line in shown]
        if len(inspection.warnings) > len(shown):
            lines.append(Text(f"  and {len(inspection.warnings) - len(shown):,} more"))
    else:
        lines.append(Text("no problems found", style="green"))
    lines.append(Text(f"fingerprint {inspection.fingerprint[:16]}", style="dim"))
    return Group(*lines)


def _class_rows(inspection: Inspection) -> list[tuple[str, list[int]]]:
    """Every class in its own order; of many, the commonest in train, and one row for all others together."""
    splits = list(inspection.images)
    names = list(inspection.counts[splits[0]])
    rows = [(name, [inspection.counts[split][name] for split in splits]) for name in names]
    if len(rows) <= _MOST_CLASSES:
        return rows
    ranked = sorted(rows, key=lambda row: -row[1][0])
    rest = ranked[_MOST_CLASSES - 1 :]
    fewest, most = rest[-1][1][0], rest[0][1][0]
    label = f"{len(rest)} others ({fewest:,} to {most:,} in {splits[0]})"
    return [
        *ranked[: _MOST_CLASSES - 1],
        (label, [sum(row[1][i] for row in rest) for i in range(len(splits))]),
    ]


def _short(path: Path) -> str:
    """A path as one would type it from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
