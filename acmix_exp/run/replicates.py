"""Bootstrap over test images: the headline metric of a run on resampled images, cached beside its outcomes."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from acmix_exp import files, outcomes
from acmix_exp.outcomes import THRESHOLDS, ClassOutcomes, Outcomes, unpack

REPLICATES = 1000
CHUNK_BYTES = 2**25  # of an intermediate array
PRODUCT_SPEED = 64  # terms of a matrix product in the time of a term of a running sum
RECALLS = np.linspace(0, 1, 101)
POINT_WEIGHTS = np.concatenate([[0.0], np.cumsum(np.r_[0.005, np.full(99, 0.01), 0.005])])  # of the first n recalls
COCO_WEIGHTS = np.arange(102) / 101


@lru_cache(maxsize=4)
def multiplicities(fingerprint: str, split: str, images: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each image is in each replicate: uint16 [replicates, images], every row sums to ``images``.

    Drawn with replacement; the random seed is the data set's fingerprint and split, so that every run on the same
    images gets the same replicates. RandomState, because numpy guarantees that its stream never changes.
    """
    key = np.frombuffer(hashlib.sha256(f"{fingerprint}/{split}".encode()).digest(), dtype="<u4")
    drawn = np.random.RandomState(key).randint(0, images, (replicates, images))
    drawn += np.arange(replicates)[:, None] * images
    return np.bincount(drawn.ravel(), minlength=replicates * images).reshape(replicates, images).astype(np.uint16)


def mean_average_precision(outcomes: Outcomes, weights: np.ndarray, *, coco: bool = False) -> np.ndarray:
    """mAP at every IoU threshold, float64 [R, 10], for R rows of integer multiplicities [R, I] of the images.

    Column 0 is mAP50, the mean of a row mAP50-95. It equals the score of ultralytics on a data set in which each image
    is repeated that many times. 0 if no class has a target. coco: see :func:`average_precision`.
    """
    total = np.zeros((len(weights), len(THRESHOLDS)))
    present = np.zeros(len(weights), dtype=np.int64)
    for label in np.flatnonzero(outcomes.targets.any(0)):
        ap = class_average_precision(outcomes, int(label), weights, coco=coco)
        total += np.nan_to_num(ap)
        present += ~np.isnan(ap[:, 0])
    return total / np.maximum(present, 1)[:, None]


def class_average_precision(outcomes: Outcomes, label: int, weights: np.ndarray, *, coco: bool = False) -> np.ndarray:
    """AP of one class, float64 [R, 10], NaN in rows without a target; see :func:`mean_average_precision`."""
    targets = weights.astype(np.int64) @ outcomes.targets[:, label].astype(np.int64)
    chosen = outcomes.label == label
    hit = unpack(outcomes.matches[chosen])
    ap = average_precision(outcomes.image[chosen], hit, targets, weights, coco=coco)
    ap[targets == 0] = np.nan
    return ap


def average_precision(
    image: np.ndarray, hit: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, coco: bool = False
) -> np.ndarray:
    """AP of one class, float64 [R, J].

    image: [N] of detections in descending confidence; hit: bool [N, J], at J IoU thresholds; targets: [R]; weights:
    [R, I]. coco: the mean over 101 recall points, as pycocotools has it; else the area as ultralytics has it.

    The precision envelope between two true positives is that of the later one, so AP is the sum over true positives of
    envelope x (weight of the recall points that this one is the first to reach). Other detections only lower the
    precision of later true positives.
    """
    result = np.zeros((len(weights), hit.shape[1]))
    hits = np.flatnonzero(hit.any(1))  # true positives at any threshold, [K]
    if not len(hits):
        return result
    table, offsets = _weight_below(targets, coco)
    rows = max(1, CHUNK_BYTES // (8 * len(hits)))
    for first in range(0, len(weights), rows):
        part = slice(first, first + rows)
        detections = _detections_until(image, hits, weights[part])
        counts = weights[part].astype(np.int32)[:, image[hits]]
        for threshold in np.flatnonzero(hit.any(0)):
            chosen = hit[hits, threshold]
            positives = counts[:, chosen].cumsum(1, dtype=np.int32)
            reached = table[positives + offsets[part, None]]
            result[part, threshold] = _area(positives, detections[:, chosen], reached)
    return result


def _detections_until(image: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The number of detections up to and including each of ``hits``, [R, K].

    A matrix product of the weights with the counts per image, in float32, which is exact up to 2**24 detections. Where
    that is the longer way, because there are many images, the weights of the detections are summed up.
    """
    images = weights.shape[1]
    if PRODUCT_SPEED * (hits[-1] + 1) < images * len(hits):
        return _summed_up(image, hits, weights)
    factor, before = weights.astype(np.float32), np.zeros(images, dtype=np.int64)
    size = max(1, CHUNK_BYTES // (8 * images))
    starts, parts = np.concatenate([[0], hits[:-1] + 1]), []
    for block in range(0, len(hits), size):
        ends = hits[block : block + size] + 1
        lengths = ends - starts[block : block + size]
        cells = np.repeat(np.arange(len(ends)), lengths) * images + image[starts[block] : ends[-1]]
        counts = np.bincount(cells, minlength=len(ends) * images).reshape(len(ends), images).cumsum(0) + before
        before = counts[-1]
        parts.append(factor @ counts.T.astype(np.float32))
    return np.concatenate(parts, axis=1)


def _summed_up(image: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """As :func:`_detections_until`, [R, K]."""
    size = max(1, CHUNK_BYTES // (4 * len(weights)))
    parts, before, last = [], np.zeros((len(weights), 1), dtype=np.int32), int(hits[-1]) + 1
    for first in range(0, last, size):
        part = image[first : min(first + size, last)]
        sums = weights[:, part].cumsum(1, dtype=np.int32) + before
        here = hits[(hits >= first) & (hits < first + size)] - first
        parts.append(sums[:, here])
        before = sums[:, -1:]
    return np.concatenate(parts, axis=1)


def _area(positives: np.ndarray, detections: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """AP [R] from the cumulative true positives, detections and weights of recall points, each [R, K]."""
    precision = positives / np.maximum(detections, 1, dtype=np.float64)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(
        np.einsum("rk,rk->r", envelope, reached) - np.einsum("rk,rk->r", envelope[:, 1:], reached[:, :-1])
    )


def _weight_below(targets: np.ndarray, coco: bool) -> tuple[np.ndarray, np.ndarray]:
    """A table and int32 offsets [R]: entry ``offset + n`` is the weight of all recall points below n / targets.

    coco: of those up to n / targets.
    """
    weights = COCO_WEIGHTS if coco else POINT_WEIGHTS
    side: Literal["left", "right"] = "right" if coco else "left"
    sizes, row_sizes = np.unique(np.maximum(targets, 1), return_inverse=True)
    starts = np.concatenate([[0], np.cumsum(sizes + 1)[:-1]]).astype(np.int32)
    table = [weights[np.searchsorted(RECALLS, np.arange(n + 1) / n, side)] for n in sizes]
    return np.concatenate(table), starts[row_sizes]


def headline_on(content: Outcomes | ClassOutcomes, weights: np.ndarray) -> np.ndarray:
    """mAP50-95, or top-1 of a classifier, float64 [R], for multiplicities [R, I] of the images, I in each row."""
    if isinstance(content, ClassOutcomes):
        return np.asarray(weights.astype(np.int64) @ content.hits(1) / weights.sum(1, dtype=np.int64))
    return np.asarray(mean_average_precision(content, weights).mean(1))


FILE = "replicates.npz"  # a cache: if it is removed, it is computed again
# What an empty, cut or damaged file raises, and one that holds something else.
DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Replicates:
    """``headline``: float64 [REPLICATES], mAP50-95 or top-1. ``images``: a hash of the ``count`` images that were
    resampled, with their classes and targets.
    """

    headline: np.ndarray
    images: str
    count: int


def replicates(run_dir: Path, fingerprint: str, split: str) -> Replicates | None:
    """A run's headline on the replicates of its data set's split; None if it has no readable outcomes.npz."""
    try:
        data = (run_dir / outcomes.FILE).read_bytes()
    except OSError:
        return None
    key = hashlib.sha256(data + f"{fingerprint}/{split}/{REPLICATES}".encode()).hexdigest()
    with contextlib.suppress(*DAMAGED), np.load(run_dir / FILE, allow_pickle=False) as cached:
        if str(cached["key"]) == key and cached["map50_95"].shape == (REPLICATES,):
            return Replicates(cached["map50_95"], str(cached["images"]), int(cached["count"]))
    try:
        content = outcomes.load_outcomes(run_dir / outcomes.FILE)
        values = headline_on(content, multiplicities(fingerprint, split, len(content.images)))
    except DAMAGED:
        return None
    names = "\n".join([*content.images, *content.classes]).encode()
    targets = content.target if isinstance(content, ClassOutcomes) else content.targets
    images = hashlib.sha256(names + targets.tobytes()).hexdigest()
    with contextlib.suppress(OSError):  # a read-only folder
        count = np.array(len(content.images))
        arrays = {"key": np.array(key), "map50_95": values, "images": np.array(images), "count": count}
        files.write_arrays(run_dir / FILE, arrays)
    return Replicates(values, images, len(content.images))
