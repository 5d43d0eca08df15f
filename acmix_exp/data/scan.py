"""Read every image and label of a split once, for the checks and for training, and cache the result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from acmix_exp.data.class_folders import class_indices
from acmix_exp.data.dataset import Dataset, Sample
from acmix_exp.data.images import ImageError, image_size, page_count, quiet_decoders, reader_version, stock_fault
from acmix_exp.data.label_files import LabelFiles, label_path
from acmix_exp.data.labels import LabelError, Labels, parse_labels
from acmix_exp.data.object_forms import POSE_REMARKS
from acmix_exp.errors import ConfigError
from acmix_exp.files import cache_dir, write_arrays
from acmix_exp.model_tasks import CLASSIFY, DETECT, TASKS

_VERSION = 6  # raise it when the parser or the stored values change
WHOLE = (0.5, 0.5, 1.0, 1.0)  # the box of an image that has a class as a whole
_THREADS = 8  # reading waits for the disk; parsing does not gain from more


@dataclass
class Scan:
    """A split as read; every array but ``boxes`` has one row per image, in the order of ``Dataset.splits``."""

    sizes: np.ndarray  # int32 [n, 2], height and width; 0 if left out
    labelled: np.ndarray  # bool [n], whether the image has a label file
    digests: np.ndarray  # uint8 [n, 32], sha256 of the image file
    counts: np.ndarray  # int32 [n], number of boxes
    boxes: np.ndarray  # float32 [sum of counts, 5]
    unlike_stock: np.ndarray  # bool [n], whether the image check of ultralytics decides otherwise
    points: np.ndarray  # int32, of each box the points of its form; empty for detection
    forms: np.ndarray  # float32 [sum of points, 2 or 3], see ``Sample.forms``
    unreadable: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)  # images none of whose boxes can be used
    pages: list[str] = field(default_factory=list)  # images of several pages or frames
    degenerate: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # label files that ultralytics would not find
    shared: list[str] = field(default_factory=list)  # label files of several images
    mixed: list[str] = field(default_factory=list)  # label files of boxes and polygons
    beyond: list[str] = field(default_factory=list)  # keypoints beyond their image
    unposed: list[str] = field(default_factory=list)  # objects without a labelled keypoint
    at_zero: list[str] = field(default_factory=list)  # keypoints at 0 0 that count as labelled
    polygons: int = 0  # label files of which only the boxes around polygons are used
    keypoints: int = 0  # label files whose keypoints are not used

    @property
    def readable(self) -> np.ndarray:
        """bool ``[n]``."""
        return self.sizes[:, 0] > 0

    def boxes_by_image(self) -> list[np.ndarray]:
        return np.split(self.boxes, np.cumsum(self.counts)[:-1])

    def forms_by_image(self) -> list[tuple[np.ndarray, ...]]:
        """Of each image the forms of its boxes; none for detection."""
        if not len(self.points):
            return [()] * len(self.counts)
        forms = np.split(self.forms, np.cumsum(self.points)[:-1])
        starts = np.cumsum([0, *self.counts])
        return [tuple(forms[first:end]) for first, end in pairwise(starts)]


def scan_split(dataset: Dataset, split: str) -> Scan:
    """Read a split, or load it from the cache if no file has changed since.

    Raises ConfigError for labels that cannot be used.
    """
    images = dataset.splits[split]
    files = LabelFiles()
    labels = [None if dataset.task == CLASSIFY else files.find(image) for image in images]
    cache, state = cache_file(dataset, split), files_state(dataset, images, labels)
    stored = load(cache, state)
    if stored is not None:
        return Scan(**stored)
    with quiet_decoders(), ThreadPoolExecutor(_THREADS) as pool:
        rows = list(pool.map(partial(_read, dataset), images, labels))
    if dataset.task == CLASSIFY:
        for row, index in zip(rows, class_indices(dataset, split), strict=True):
            row.labelled = True
            if not row.unreadable:
                row.labels.boxes = np.array([[index, *WHOLE]], np.float32)
    _refuse_tracks(rows)
    if faults := [row.fault for row in rows if row.fault]:
        more = f" (and {len(faults) - 1} more label files like it)" if len(faults) > 1 else ""
        raise ConfigError(f"{dataset.setting}: {faults[0]}{more}")
    scan = Scan(
        sizes=np.array([row.size for row in rows], np.int32).reshape(-1, 2),
        labelled=np.array([row.labelled for row in rows], bool),
        digests=np.frombuffer(b"".join(row.digest for row in rows), np.uint8).reshape(-1, 32),
        counts=np.array([len(row.labels.boxes) for row in rows], np.int32),
        boxes=np.concatenate([np.zeros((0, 5), np.float32), *(row.labels.boxes for row in rows)]),
        unlike_stock=np.array([row.unlike_stock for row in rows], bool),
        points=np.array([len(form) for row in rows for form in row.labels.forms], np.int32),
        forms=np.concatenate(
            [form for row in rows for form in row.labels.forms] or [np.zeros((0, 2), np.float32)], dtype=np.float32
        ),
        unreadable=[row.unreadable for row in rows if row.unreadable],
        emptied=[row.emptied for row in rows if row.emptied],
        pages=[
            f"{dataset.shown(image)}: {row.pages} pages or frames, the first is used"
            for image, row in zip(images, rows, strict=True)
            if row.pages > 1
        ],
        degenerate=[line for row in rows for line in row.labels.degenerate],
        outside=[line for row in rows for line in row.labels.outside],
        duplicates=[
            f"{label}:{row.labels.duplicates[0]}: {len(row.labels.duplicates)} duplicate rows from here, dropped"
            for label, row in zip(labels, rows, strict=True)
            if row.labels.duplicates
        ],
        unlabelled=[
            _without_label(dataset, image, files)
            for image, row in zip(images, rows, strict=True)
            if not row.labelled and not row.unreadable
        ],
        elsewhere=[
            f"{label}: labels of {image.name}, for which ultralytics reads {label_path(image)}"
            for image, label in zip(images, labels, strict=True)
            if label is not None and label != label_path(image)
        ],
        shared=[
            f"{label}: the label file of {', '.join(image.name for image in sharing)}"
            for label, sharing in _by_label(images, labels).items()
            if len(sharing) > 1
        ],
    )
    for name in POSE_REMARKS:
        setattr(scan, name, [line for row in rows for line in row.labels.remarks.get(name, [])])
    if dataset.task == DETECT:
        scan.polygons = sum(row.labels.polygons for row in rows)
        scan.keypoints = sum(row.labels.keypoints for row in rows)
        scan.mixed = [
            f"{label}: rows of boxes and of polygons, all used; ultralytics leaves the image out"
            for label, row in zip(labels, rows, strict=True)
            if row.labels.polygons and row.labels.plain
        ]
    if not any(row.transient for row in rows):
        save(cache, state, vars(scan))
    return scan


def read_split(dataset: Dataset, split: str) -> list[Sample]:
    """The samples of a split, in the order of its images; unreadable images are left out.

    Raises ConfigError for labels that cannot be used, and KeyError for a split that the data set lacks.
    """
    images, scan = dataset.splits[split], scan_split(dataset, split)
    return [
        Sample(image, int(height), int(width), boxes, forms)
        for image, (height, width), boxes, forms in zip(
            images, scan.sizes, scan.boxes_by_image(), scan.forms_by_image(), strict=True
        )
        if height
    ]


@dataclass
class _Row:
    size: tuple[int, int] = (0, 0)
    pages: int = 1
    digest: bytes = bytes(32)
    labelled: bool = False
    labels: Labels = field(default_factory=Labels)
    unlike_stock: bool = False
    unreadable: str = ""
    emptied: str = ""  # why an image with boxes is left out
    transient: bool = False  # unreadable for a reason that may not recur
    fault: str = ""


def _read(dataset: Dataset, image: Path, label: Path | None) -> _Row:
    row = _Row()
    try:
        data = image.read_bytes()
        row.digest = hashlib.sha256(data).digest()
        row.unlike_stock = stock_fault(data) is not None
        row.size = image_size(data, image.suffix)
        row.pages = page_count(data)
    except OSError as error:
        row.unreadable = f"{dataset.shown(image)}: {error.strerror or error}, image left out"
        row.transient = True
    except ImageError as error:
        row.unreadable = f"{dataset.shown(image)}: {error}, image left out"
        row.unlike_stock = not row.unlike_stock
    if label is None:
        return row
    row.labelled = True
    try:
        text = label.read_text(encoding="utf-8-sig")
        row.labels = parse_labels(label, text, dataset)
    except LabelError as error:
        row.fault = str(error)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        row.fault = f"{label}: {reason}; must be text, each row {TASKS[dataset.task].row}"
    if row.unreadable:
        row.labels = Labels()
    elif row.labels.degenerate and not len(row.labels.boxes):
        # Without its boxes the image would be background, which it is not.
        row.emptied = f"{dataset.shown(image)}: none of its boxes can be used, image left out"
        row.size, row.unlike_stock = (0, 0), not row.unlike_stock
    return row


def _refuse_tracks(rows: list[_Row]) -> None:
    """Refuse rows that may be a tracker's or a triangle, unless other polygons show that they are triangles."""
    if any(row.labels.polygons for row in rows):
        return
    for row in rows:
        row.fault = row.fault or row.labels.track


def _without_label(dataset: Dataset, image: Path, files: LabelFiles) -> str:
    other = files.other_annotation(image)
    why = f"{other.name} is not in YOLO's format" if other else f"no {label_path(image)}"
    return f"{dataset.shown(image)}: no label file, taken as background ({why})"


def _by_label(images: Iterable[Path], labels: Iterable[Path | None]) -> dict[Path, list[Path]]:
    groups: dict[Path, list[Path]] = {}
    for image, label in zip(images, labels, strict=True):
        if label is not None:
            groups.setdefault(label, []).append(image)
    return groups


def cache_file(dataset: Dataset, split: str) -> Path:
    """The cache of a split's scan: one file per source and split, overwritten when the data changes."""
    task = "" if dataset.task == DETECT else f"\0{dataset.task}"
    name = hashlib.sha256(f"{dataset.source}\0{split}{task}".encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_dir() / "scans" / f"{name}.npz"


def files_state(dataset: Dataset, images: Iterable[Path], labels: Iterable[Path | None]) -> str:
    """sha256 over path, size and times of every file, and over what else the parser depends on.

    The time of the last change of the inode is among them: tools that edit a file can set back the other one.
    """
    task = "" if dataset.task == DETECT else f" {dataset.task} {dataset.keypoints}"
    state = hashlib.sha256(f"{_VERSION} {reader_version()} {len(dataset.names)} {dataset.pose_values}{task}".encode())
    for image, label in zip(images, labels, strict=True):
        for path in (os.fspath(image), os.fspath(label or "-")):
            try:
                stat = os.stat(path)
                stamp = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
            except OSError:
                stamp = "-"
            state.update(os.fsencode(path) + b"\0" + stamp.encode() + b"\0")
    return state.hexdigest()


def load(file: Path, state: str) -> dict[str, Any] | None:
    """The arrays and lists stored for this state; None if there are none or the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            lists = json.loads(stored["lists"].tobytes())
            if lists.pop("state") != state:
                return None
            return {**{key: stored[key] for key in stored.files if key != "lists"}, **lists}
    except Exception:  # np.load raises many types on a damaged file; the data is then read again
        return None


def save(file: Path, state: str, values: dict[str, Any]) -> None:
    """Store arrays and lists of strings; a cache that cannot be written only means that the data is read again."""
    arrays: dict[str, Any] = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    lists = {key: value for key, value in values.items() if key not in arrays}
    text = json.dumps({**lists, "state": state}).encode()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, {"lists": np.frombuffer(text, np.uint8), **arrays}, compress=False)
