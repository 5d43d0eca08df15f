"""The resampled mAP of one run, computed once and kept beside its outcomes."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from acmix_exp import outcomes
from acmix_exp.report.resampling import REPLICATES, mean_average_precision, multiplicities

FILE = "replicates.npz"  # a cache: removed, it is computed again
# An empty file, a cut one, one whose bytes were damaged, and one that holds something else.
_BROKEN = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Replicates:
    """``map50_95`` float64 [REPLICATES]; ``images`` names the set that was resampled: equal where it is the same."""

    map50_95: np.ndarray
    images: str


def replicates(run_dir: Path, fingerprint: str, split: str) -> Replicates | None:
    """A run's mAP50-95 on the replicates of its data set's split; None where it left no whole outcomes.npz."""
    try:
        content = (run_dir / outcomes.FILE).read_bytes()
    except OSError:
        return None
    key = hashlib.sha256(content + f"{fingerprint}/{split}/{REPLICATES}".encode()).hexdigest()
    with contextlib.suppress(*_BROKEN), np.load(run_dir / FILE, allow_pickle=False) as before:
        if str(before["key"]) == key and before["map50_95"].shape == (REPLICATES,):
            return Replicates(before["map50_95"], str(before["images"]))
    try:
        found = outcomes.Outcomes.load(run_dir / outcomes.FILE)
        values = mean_average_precision(found, _weights(fingerprint, split, len(found.images))).mean(1)
    except _BROKEN:
        return None
    images = hashlib.sha256("\n".join([*found.images, *found.classes]).encode() + found.targets.tobytes()).hexdigest()
    with contextlib.suppress(OSError):  # a folder that may only be read
        kept = {"key": np.array(key), "map50_95": values, "images": np.array(images)}
        outcomes.write_arrays(run_dir / FILE, kept)
    return Replicates(values, images)


@lru_cache(maxsize=4)
def _weights(fingerprint: str, split: str, images: int) -> np.ndarray:
    return multiplicities(fingerprint, split, images)
