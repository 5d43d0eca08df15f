"""What a scan found, kept in the user's cache folder so that a large data set is read once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.folders import cache_dir

_VERSION = 1  # raise it when the parser or what is stored changes


def scan_place(dataset: Dataset, split: str) -> Path:
    """Where the scan of a split is kept: one file a source and split, overwritten when the data changes."""
    name = hashlib.sha256(f"{dataset.source}\0{split}".encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_dir() / "scans" / f"{name}.npz"


def files_state(dataset: Dataset, images: Iterable[Path], labels: Iterable[Path]) -> str:
    """sha256 over path, size and modification time of every file, and what else the parser depends on."""
    state = hashlib.sha256(f"{_VERSION} {len(dataset.names)} {dataset.pose_values}".encode())
    for image, label in zip(images, labels, strict=True):
        for path in (os.fspath(image), os.fspath(label)):
            try:
                found = os.stat(path)
                stamp = f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
            except OSError:
                stamp = "-"
            state.update(os.fsencode(path) + b"\0" + stamp.encode() + b"\0")
    return state.hexdigest()


def load(place: Path, state: str) -> dict[str, Any] | None:
    """The arrays and lists stored for this state; None where there are none or the file is damaged."""
    try:
        with np.load(place, allow_pickle=False) as stored:
            lists = json.loads(stored["lists"].tobytes())
            if lists.pop("state") != state:
                return None
            return {**{key: stored[key] for key in stored.files if key != "lists"}, **lists}
    except Exception:  # np.load raises many kinds on a damaged file; reading the data again is always right
        return None


def save(place: Path, state: str, values: dict[str, Any]) -> None:
    """Store arrays and lists of strings. A cache that cannot be written is no fault: data is read again."""
    arrays: dict[str, Any] = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    lists = {key: value for key, value in values.items() if key not in arrays}
    text = json.dumps({**lists, "state": state}).encode()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{place.stem}-", suffix=".part", dir=place.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, lists=np.frombuffer(text, np.uint8), **arrays)
        os.replace(name, place)
    except OSError:
        Path(name).unlink(missing_ok=True)
