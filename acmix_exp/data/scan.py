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
from pathlib import Path
from typing import Any

import numpy as np

from acmix_exp.data.dataset import Dataset, Sample
from acmix_exp.data.images import ImageError, image_size
from acmix_exp.data.labels import LabelError, Labels, parse_labels
from acmix_exp.data.yolo_layout import label_path
from acmix_exp.errors import ConfigError
from acmix_exp.files import cache_dir, write_arrays

_VERSION = 1  # raise it when the parser or the stored values change
_THREADS = 8  # reading waits for the disk; parsing does not gain from more


@dataclass
class Scan:
    """A split as read; every array but ``boxes`` has one row per image, in the order of ``Dataset.splits``."""

    sizes: np.ndarray  # int32 [n, 2], height and width; 0 if unreadable
    labelled: np.ndarray  # bool [n], whether the image has a label file
    digests: np.ndarray  # uint8 [n, 32], sha256 of the image file
    counts: np.ndarray  # int32 [n], number of boxes
    boxes: np.ndarray  # float32 [sum of counts, 5]
    unreadable: list[str] = field(default_factory=list)
    degenerate: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    @property
    def readable(self) -> np.ndarray:
        """bool ``[n]``."""
        return self.sizes[:, 0] > 0

    def boxes_by_image(self) -> list[np.ndarray]:
        return np.split(self.boxes, np.cumsum(self.counts)[:-1])


def scan_split(dataset: Dataset, split: str) -> Scan:
    """Read a split, or load it from the cache if no file has changed since.

    Raises ConfigError for labels that cannot be used.
    """
    images = dataset.splits[split]
    labels = [label_path(image) for image in images]
    cache, state = cache_file(dataset, split), files_state(dataset, images, labels)
    stored = load(cache, state)
    if stored is not None:
        return Scan(**stored)
    with ThreadPoolExecutor(_THREADS) as pool:
        rows = list(pool.map(partial(_read, dataset), images, labels))
    if faults := [row.fault for row in rows if row.fault]:
        more = f" (and {len(faults) - 1} more label files like it)" if len(faults) > 1 else ""
        raise ConfigError(f"{dataset.setting}: {faults[0]}{more}")
    scan = Scan(
        sizes=np.array([row.size for row in rows], np.int32).reshape(-1, 2),
        labelled=np.array([row.labelled for row in rows], bool),
        digests=np.frombuffer(b"".join(row.digest for row in rows), np.uint8).reshape(-1, 32),
        counts=np.array([len(row.labels.boxes) for row in rows], np.int32),
        boxes=np.concatenate([np.zeros((0, 5), np.float32), *(row.labels.boxes for row in rows)]),
        unreadable=[row.unreadable for row in rows if row.unreadable],
        degenerate=[line for row in rows for line in row.labels.degenerate],
        outside=[line for row in rows for line in row.labels.outside],
        duplicates=[
            f"{label}: {row.labels.duplicates} duplicate rows dropped"
            for label, row in zip(labels, rows, strict=True)
            if row.labels.duplicates
        ],
    )
    if not any(row.transient for row in rows):
        save(cache, state, vars(scan))
    return scan


def read_split(dataset: Dataset, split: str) -> list[Sample]:
    """The samples of a split, in the order of its images; unreadable images are left out.

    Raises ConfigError for labels that cannot be used, and KeyError for a split that the data set lacks.
    """
    images, scan = dataset.splits[split], scan_split(dataset, split)
    return [
        Sample(image, int(height), int(width), boxes)
        for image, (height, width), boxes in zip(images, scan.sizes, scan.boxes_by_image(), strict=True)
        if height
    ]


@dataclass
class _Row:
    size: tuple[int, int] = (0, 0)
    digest: bytes = bytes(32)
    labelled: bool = False
    labels: Labels = field(default_factory=Labels)
    unreadable: str = ""
    transient: bool = False  # unreadable for a reason that may not recur
    fault: str = ""


def _read(dataset: Dataset, image: Path, label: Path) -> _Row:
    row = _Row()
    try:
        data = image.read_bytes()
        row.digest = hashlib.sha256(data).digest()
        row.size = image_size(data)
    except OSError as error:
        row.unreadable = f"{dataset.shown(image)}: {error.strerror or error}, image left out"
        row.transient = True
    except ImageError as error:
        row.unreadable = f"{dataset.shown(image)}: {error}, image left out"
    try:
        text = label.read_text(encoding="utf-8-sig")
        row.labelled = True
        row.labels = parse_labels(label, text, len(dataset.names), dataset.pose_values)
    except FileNotFoundError:
        pass
    except LabelError as error:
        row.fault = str(error)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        row.fault = f"{label}: {reason}; must be text, each row class x_center y_center width height"
    if row.unreadable:
        row.labels = Labels()
    return row


def orphans(dataset: Dataset) -> list[str]:
    """Label files of the data set that belong to no image, one line each."""
    stems: dict[Path, set[str]] = {}
    for images in dataset.splits.values():
        for image in images:
            stems.setdefault(image.parent, set()).add(image.stem)
    lines = []
    for folder in sorted(stems):
        labels = label_path(folder / "image.jpg").parent
        if labels == folder or not labels.is_dir():
            continue  # in a folder with images and labels, any other text file is possible
        # A split given as a list may use only some images of a folder: the others' labels are no orphans.
        images_in_folder = stems[folder] | {Path(name).stem for name in (os.listdir(folder) if folder.is_dir() else ())}
        lines += [
            f"{labels / name}: label without image"
            for name in sorted(os.listdir(labels))
            if name.endswith(".txt") and name[:-4] not in images_in_folder
        ]
    return lines


def cache_file(dataset: Dataset, split: str) -> Path:
    """The cache of a split's scan: one file per source and split, overwritten when the data changes."""
    name = hashlib.sha256(f"{dataset.source}\0{split}".encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_dir() / "scans" / f"{name}.npz"


def files_state(dataset: Dataset, images: Iterable[Path], labels: Iterable[Path]) -> str:
    """sha256 over path, size and modification time of every file, and over what else the parser depends on."""
    state = hashlib.sha256(f"{_VERSION} {len(dataset.names)} {dataset.pose_values}".encode())
    for image, label in zip(images, labels, strict=True):
        for path in (os.fspath(image), os.fspath(label)):
            try:
                stat = os.stat(path)
                stamp = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
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
