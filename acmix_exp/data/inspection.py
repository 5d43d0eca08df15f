"""Count a data set before anything is trained on it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from acmix_exp.data.class_names import other_order
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.headline import Headline, headline, repeated_lines, shared_lines
from acmix_exp.data.label_files import LabelFiles, label_path
from acmix_exp.data.label_statistics import label_statistics
from acmix_exp.data.scan import Scan, scan_split
from acmix_exp.data.yolo_layout import CONVERT_COCO
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import CLASSIFY, DETECT, TASKS

_MOST_CLASSES = 8  # rows; the rest is summed in the last one
_MOST_WARNINGS = {"short": 4, "plan": 200}
# The lists of a Scan: what they are lists of.
_LISTED = {
    "unreadable": "unreadable images, left out",
    "emptied": "images without a usable box, left out",
    "pages": "images of several pages or frames, of which the first is used",
    "degenerate": "degenerate boxes, dropped",
    "outside": "boxes reaching beyond their image, kept",
    "duplicates": "label files with duplicate rows",
    "mixed": "label files of boxes and polygons",
    "beyond": "objects with keypoints beyond their image",
    "unposed": "objects without a labelled keypoint",
    "at_zero": "objects with a keypoint at 0 0, taken as labelled",
    "elsewhere": "label files where ultralytics does not look, used",
    "shared": "label files of several images",
    "unlabelled": "images without label, taken as background",
}
_CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels")  # of labelImg, CVAT, Roboflow


@dataclass
class Inspection:
    """Counts and faults of a data set.

    ``fingerprint`` is a sha256 over what training sees: class names, and for each split every image's path (relative to
    the folder that all images share), the bytes of its file and its boxes. A copy in another folder has the same one.
    """

    name: str
    source: Path
    images: dict[str, int] = field(default_factory=dict)  # readable ones, by split
    boxes: dict[str, int] = field(default_factory=dict)  # by split, without degenerate ones; of classify images
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # boxes by split and class name
    noun: str = "boxes"  # what is counted
    problems: dict[str, int] = field(default_factory=dict)  # how often each problem occurs; only those that occur
    warnings: list[str] = field(default_factory=list)  # one line each, with the file and, in label files, the line
    fingerprint: str = ""
    split: str = ""  # how the splits were made or what they were read from, and the headline
    headline: Headline | None = None
    labels: dict[str, Any] = field(default_factory=dict, repr=False)  # as label_statistics.py has them


def inspect(dataset: Dataset) -> Inspection:
    """Read the data set and count it. Raises ConfigError if it cannot be trained on."""
    of_images = dataset.task == CLASSIFY
    inspection = Inspection(dataset.name, dataset.source, noun="images" if of_images else "boxes")
    scans = {split: scan_split(dataset, split) for split in dataset.splits}
    for split, scan in scans.items():
        _check_usable(dataset, split, scan)
        classes = np.bincount(scan.boxes[:, 0].astype(int), minlength=len(dataset.names))
        inspection.images[split] = int(scan.readable.sum())
        inspection.boxes[split] = len(scan.boxes)
        inspection.counts[split] = {name: int(classes[index]) for index, name in dataset.names.items()}
    lines_of = {name: [line for scan in scans.values() for line in getattr(scan, name)] for name in _LISTED}
    files, images = LabelFiles(), [image for paths in dataset.splits.values() for image in paths]
    listed = {_LISTED[name]: lines for name, lines in lines_of.items()} | {
        "images of test that are also in val": shared_lines(dataset, scans, "test", ["val"]) if "test" in scans else [],
        "images of train that are also in val or test": shared_lines(
            dataset, scans, "train", [split for split in scans if split != "train"]
        ),
        "images that are in their split twice": repeated_lines(dataset, scans),
        "labels without image": [] if of_images else files.orphans(images),
        "text files with the name of an image, not used": [] if of_images else files.unused(images),
        "left out or clipped beforehand": list(dataset.notes),
        "remarks on how the files were read": [
            *dataset.remarks,
            *([] if of_images else _class_lists(dataset)),
            *_unused(scans),
        ],
    }
    # The first of each problem, then the second of each, and so on: the table shows the first few.
    inspection.warnings = [line for lines in zip_longest(*listed.values()) for line in lines if line]
    numbers = {problem: len(lines) for problem, lines in listed.items()}
    numbers["classes without a box in train"] = sum(not count for count in inspection.counts["train"].values())
    inspection.problems = {problem: number for problem, number in numbers.items() if number}
    inspection.headline = headline(dataset)
    inspection.split = f"{_made(dataset, inspection)}; {inspection.headline}"
    inspection.fingerprint = _fingerprint(dataset, scans, inspection.headline)
    inspection.labels = label_statistics(dataset.names, scans, of_images=of_images)
    return inspection


def _check_usable(dataset: Dataset, split: str, scan: Scan) -> None:
    if dataset.task == CLASSIFY:
        _check_classes(dataset, split, scan)
        return
    rows = f"rows '{TASKS[dataset.task].row}' in fractions of the image"
    if not len(scan.boxes):
        if scan.degenerate:
            raise ConfigError(f"{dataset.setting}: no usable box in {split}: {scan.degenerate[0]}; must be {rows}")
        if not scan.readable.any():
            raise ConfigError(f"{dataset.setting}: no image of {split} can be read: {scan.unreadable[0]}")
        first = dataset.splits[split][0]
        if coco := next(
            filter(_is_coco, (file for folder in first.parents[:3] for file in folder.glob("*.json"))), None
        ):
            raise ConfigError(f"{dataset.setting}: no label files for {split}, and {coco} is {CONVERT_COCO}")
        file = dataset.shown(label_path(first))
        raise ConfigError(f"{dataset.setting}: no boxes in {split}; label files such as {file} must have {rows}")


def _check_classes(dataset: Dataset, split: str, scan: Scan) -> None:
    """Every class must have an image that can be read."""
    lacking = sorted(dataset.names.keys() - set(scan.boxes[:, 0].astype(int)))
    if lacking:
        folder = dataset.read[split][0] / dataset.names[lacking[0]]
        first = next(line for line in scan.unreadable if Path(line).is_relative_to(folder))
        raise ConfigError(f"{dataset.setting}: no image of {folder} can be read: {first}; must be images")


def _class_lists(dataset: Dataset) -> list[str]:
    """Lists of classes beside the labels, as annotation tools write them, whose order is not that of the data set."""
    folders = {dataset.source.parent}
    for parent in {image.parent for images in dataset.splits.values() for image in images}:
        labels = label_path(parent / "image.jpg").parent
        folders |= {parent, labels, labels.parent}
    files = [folder / name for folder in sorted(folders) for name in _CLASS_LISTS]
    return [line for file in files if (line := other_order(dataset.names, file))]


def _unused(scans: dict[str, Scan]) -> list[str]:
    """What the labels have that detection does not use."""
    polygons, keypoints = (sum(getattr(scan, name) for scan in scans.values()) for name in ("polygons", "keypoints"))
    around = "used as the boxes around them; model.task=segment trains on polygons, model.task=obb on four corners"
    lines = [f"polygons in {polygons:,} label files, {around}"] if polygons else []
    if keypoints:
        lines.append(
            f"keypoints in {keypoints:,} label files, of which the boxes are used; model.task=pose trains on them"
        )
    return lines


def _made(dataset: Dataset, inspection: Inspection) -> str:
    """How the splits were made, with their sizes; or the folders and lists that they were read from."""
    if dataset.split_made or not dataset.read:
        sizes = [f"{count} {split}" for split, count in inspection.images.items()]
        return ", ".join([dataset.split_made or "split as converted", *sizes])
    folder = dataset.source if dataset.source.is_dir() else dataset.source.parent
    parts = [f"{split} {', '.join(_below(path, folder) for path in paths)}" for split, paths in dataset.read.items()]
    return f"split: {'; '.join(parts)}"


def _below(path: Path, folder: Path) -> str:
    """The path relative to ``folder`` if it is below it."""
    for base in (folder, folder.resolve()):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def _is_coco(file: Path) -> bool:
    with open(file, "rb") as stream:
        head = stream.read(1 << 20)
    return any(key in head for key in (b'"images"', b'"annotations"', b'"categories"'))


def _fingerprint(dataset: Dataset, scans: dict[str, Scan], result: Headline) -> str:
    folders = {path.parent for images in dataset.splits.values() for path in images}
    common = os.path.commonpath(folders)
    content = hashlib.sha256(repr(sorted(dataset.names.items())).encode())
    if dataset.task != DETECT:
        content.update(f"\0{dataset.task} {dataset.keypoints}\0".encode())
    for split in sorted(scans):
        scan = scans[split]
        content.update(f"\0{split}\0".encode())
        columns = scan.digests, scan.boxes_by_image(), scan.unlike_stock, scan.forms_by_image()
        for image, digest, boxes, unlike_stock, forms in zip(dataset.splits[split], *columns, strict=True):
            content.update(os.fsencode(os.path.relpath(image, common)) + b"\0" + digest.tobytes())
            content.update(np.ascontiguousarray(boxes, "<f4").tobytes() + b"\0")
            if unlike_stock:  # earlier versions used, or left out, the image as ultralytics' check says
                content.update(b"unlike")
            for form in forms:
                content.update(np.ascontiguousarray(form, "<f4").tobytes() + b"\0form\0")
    if "test" in scans and result.split != "test":  # earlier versions scored on test in any case
        content.update(b"\0headline on val\0")
    return content.hexdigest()


def report_table(inspection: Inspection, *, detail: str = "short") -> RenderableType:
    """Boxes by class and split, images, problems and the first warnings, to be printed with ``soft_wrap=True``.

    detail: ``short``, at most about a screen of 24 lines, of many classes the most frequent; ``plan``, all classes and
    200 warnings; ``all``, everything.
    """
    splits = list(inspection.images)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, counts in _class_rows(
        inspection, _MOST_CLASSES if detail == "short" else len(inspection.counts[splits[0]])
    ):
        table.add_row(escape(name), *(f"{count:,}" for count in counts))
    table.add_section()
    if inspection.noun == "boxes":
        table.add_row("boxes", *(f"{inspection.boxes[split]:,}" for split in splits))
    table.add_row("images", *(f"{inspection.images[split]:,}" for split in splits))
    title = Text(f"{inspection.name}  ({_short(inspection.source)})", overflow="ellipsis", no_wrap=True)
    lines: list[RenderableType] = [title, table]
    if inspection.problems:
        summary = "; ".join(f"{count:,} {problem}" for problem, count in inspection.problems.items())
        lines.append(Text(summary, style="yellow"))
        most = max(_MOST_WARNINGS.get(detail, len(inspection.warnings)), len(inspection.problems))
        shown = inspection.warnings[:most]
        folder = f"{inspection.source if inspection.source.is_dir() else inspection.source.parent}{os.sep}"
        lines += [Text(f"  {line.removeprefix(folder)}") for line in shown]
        if len(inspection.warnings) > len(shown):
            by = "plan.rows=all prints them" if detail == "plan" else "task=plan prints them"
            lines.append(Text(f"  and {len(inspection.warnings) - len(shown):,} more; {by}"))
    else:
        lines.append(Text("no problems found", style="green"))
    lines.append(Text(inspection.split))
    lines.append(Text(f"fingerprint {inspection.fingerprint[:16]}", style="dim"))
    return Group(*lines)


def _class_rows(inspection: Inspection, most: int) -> list[tuple[str, list[int]]]:
    """Boxes by split for each class, in order; of many classes, for the most frequent in train and for all others."""
    splits = list(inspection.images)
    names = list(inspection.counts[splits[0]])
    rows = [(name, [inspection.counts[split][name] for split in splits]) for name in names]
    if len(rows) <= most:
        return rows
    ranked = sorted(rows, key=lambda row: -row[1][0])
    rest = ranked[most - 1 :]
    fewest, highest = rest[-1][1][0], rest[0][1][0]
    label = f"{len(rest)} others ({fewest:,} to {highest:,} in {splits[0]})"
    return [*ranked[: most - 1], (label, [sum(row[1][i] for row in rest) for i in range(len(splits))])]


def _short(path: Path) -> str:
    """The path relative to the working folder if it is near."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
