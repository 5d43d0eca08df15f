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

from acmix_exp import files, outcomes
from acmix_exp.outcomes import THRESHOLDS, Outcomes, unpack

REPLICATES = 1000
CHUNK_BYTES = 2**25  # of gathered multiplicities
RECALLS = np.linspace(0, 1, 101)
POINT_WEIGHTS = np.concatenate([[0.0], np.cumsum(np.r_[0.005, np.full(99, 0.01), 0.005])])  # of the first n of them


def multiplicities(fingerprint: str, split: str, images: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each image is in each replicate: uint16 [replicates, images], every row sums to ``images``.

    Drawn with replacement from a seed that is the data set's fingerprint and split, so that every run on the same
    images gets the same replicates. RandomState, for numpy promises that its stream never changes.
    """
    key = np.frombuffer(hashlib.sha256(f"{fingerprint}/{split}".encode()).digest(), dtype="<u4")
    drawn = np.random.RandomState(key).randint(0, images, (replicates, images))
    drawn += np.arange(replicates)[:, None] * images
    return np.bincount(drawn.ravel(), minlength=replicates * images).reshape(replicates, images).astype(np.uint16)


def mean_average_precision(outcomes: Outcomes, weights: np.ndarray) -> np.ndarray:
    """mAP at every IoU threshold, float64 [R, 10], for R rows of integer multiplicities [R, I] of the images.

    Column 0 is mAP50, the mean of a row mAP50-95. A row of ones is ultralytics' own figure; a row is what scoring the
    images so often repeated gives. 0 where no class has a target.
    """
    total = np.zeros((len(weights), len(THRESHOLDS)))
    present = np.zeros(len(weights), dtype=np.int64)
    for label in np.flatnonzero(outcomes.targets.any(0)):
        targets = weights.astype(np.int64) @ outcomes.targets[:, label].astype(np.int64)
        chosen = outcomes.label == label
        total += average_precision(outcomes.image[chosen], unpack(outcomes.matches[chosen]), targets, weights)
        present += targets > 0
    return total / np.maximum(present, 1)[:, None]


def average_precision(image: np.ndarray, hit: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP of one class, float64 [R, 10].

    image: [N] of detections in descending confidence; hit: bool [N, 10]; targets: [R]; weights: [R, I].

    Between two true positives the envelope of precision is that of the later one, so AP is the sum over true positives
    of envelope x (weight of the recall points that it is the first to reach). Other detections only add to the number
    seen so far, and those after the last true positive to nothing.
    """
    result = np.zeros((len(weights), len(THRESHOLDS)))
    at = np.flatnonzero(hit.any(1))
    if not len(at):
        return result
    table, offsets = _weight_below(targets)
    rows = max(1, CHUNK_BYTES // (8 * len(at)))
    for first in range(0, len(weights), rows):
        part = slice(first, first + rows)
        seen = _seen(image, at, weights[part])
        mine = weights[part].astype(np.int32)[:, image[at]]
        for threshold in np.flatnonzero(hit.any(0)):
            chosen = hit[at, threshold]
            found = mine[:, chosen].cumsum(1, dtype=np.int32)
            below = table[found + offsets[part, None]]
            result[part, threshold] = _area(found, seen[:, chosen], below)
    return result


def _seen(image: np.ndarray, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Detections up to and with each of those ``at``, [R, K]: a product with their counts by image.

    In float32, which is exact up to 2**24 detections.
    """
    images = weights.shape[1]
    factor, before = weights.astype(np.float32), np.zeros(images, dtype=np.int64)
    size = max(1, CHUNK_BYTES // (8 * images))
    starts, parts = np.concatenate([[0], at[:-1] + 1]), []
    for block in range(0, len(at), size):
        ends = at[block : block + size] + 1
        lengths = ends - starts[block : block + size]
        cells = np.repeat(np.arange(len(ends)), lengths) * images + image[starts[block] : ends[-1]]
        counts = np.bincount(cells, minlength=len(ends) * images).reshape(len(ends), images).cumsum(0) + before
        before = counts[-1]
        parts.append(factor @ counts.T.astype(np.float32))
    return np.concatenate(parts, axis=1)


def _area(found: np.ndarray, seen: np.ndarray, below: np.ndarray) -> np.ndarray:
    """[R] from the true positives, the detections and the weight of recall points so far, each [R, K]."""
    precision = found / np.maximum(seen, 1, dtype=np.float64)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.einsum("rk,rk->r", envelope, below) - np.einsum("rk,rk->r", envelope[:, 1:], below[:, :-1]))


def _weight_below(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A table and int32 offsets [R]: at ``offset + n`` the summed weight of the recall points below n / targets."""
    sizes, which = np.unique(np.maximum(targets, 1), return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(sizes + 1)[:-1]]).astype(np.int32)
    table = [POINT_WEIGHTS[np.searchsorted(RECALLS, np.arange(n + 1) / n)] for n in sizes]
    return np.concatenate(table), starts[which]


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
        files.write_arrays(run_dir / FILE, kept)
    return Replicates(values, images)


@lru_cache(maxsize=4)
def _weights(fingerprint: str, split: str, images: int) -> np.ndarray:
    return multiplicities(fingerprint, split, images)
