"""AP by object size from ``outcomes.npz``, as COCO defines it, and the matching of detections and boxes behind it.

Source: COCOeval of pycocotools (``evaluateImg``, ``accumulate``), without crowds, which no data set here has.
"""

from __future__ import annotations

import numpy as np

from acmix_exp.outcomes import SIZES, THRESHOLDS, Boxes, Outcomes
from acmix_exp.run.replicates import average_precision

MOST = 100  # detections of an image and class that count
RANGES = ("all", *SIZES)


def average_precision_by_size(outcomes: Outcomes, weights: np.ndarray | None = None) -> dict[str, np.ndarray] | None:
    """AP by size range, ``all`` first: float64 [R, C, 10], NaN for a class without a box in the range.

    weights: [R, I], how often each image counts; None: each once, R = 1. The mean over classes and thresholds that are
    not NaN is COCO's AP. None if the outcomes were written by version 1 of the file.
    """
    if (boxes := outcomes.boxes) is None:
        return None
    if weights is None:
        weights = np.ones((1, len(outcomes.images)), dtype=np.int64)
    hit, ignored = matches_by_size(outcomes, boxes)
    sized = _in_ranges(boxes.target_size)
    counted = ranks(outcomes.image.astype(np.int64) * len(outcomes.classes) + outcomes.label) < MOST
    result = {name: np.full((len(weights), len(outcomes.classes), len(THRESHOLDS)), np.nan) for name in RANGES}
    for label in range(len(outcomes.classes)):
        chosen = np.flatnonzero(counted & (outcomes.label == label))
        image = outcomes.image[chosen]
        for j, name in enumerate(RANGES):
            of_image = boxes.target_image[(boxes.target_label == label) & sized[:, j]]
            targets = weights.astype(np.int64) @ np.bincount(of_image, minlength=len(outcomes.images))
            for k in range(len(THRESHOLDS)):
                kept = ~ignored[chosen, j, k]
                hits = hit[chosen[kept], j, k, None]
                ap = average_precision(image[kept], hits, targets, weights, coco=True)[:, 0]
                result[name][:, label, k] = np.where(targets > 0, ap, np.nan)
    return result


def matches_by_size(outcomes: Outcomes, boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
    """Whether each detection is a true positive, and whether it is ignored: two bool [N, 4, 10], by RANGES, THRESHOLDS.

    A box outside the range is ignored, and so is a detection that is matched to it: only where there is no free box
    inside. An unmatched detection is ignored if its own area is outside.
    """
    detection, target, iou = boxes.pair_detection, boxes.pair_target, boxes.pair_iou
    same = (outcomes.label[detection] == boxes.target_label[target]) & (iou >= THRESHOLDS[0])
    group = outcomes.image.astype(np.int64) * len(outcomes.classes) + outcomes.label
    inside = _in_ranges(boxes.target_size)
    thresholds = THRESHOLDS.astype(iou.dtype)
    claimed = claims(detection[same], target[same], iou[same], group, inside, thresholds)
    hit = np.zeros(claimed.shape, dtype=bool)
    where = np.nonzero(claimed >= 0)
    hit[where] = inside[claimed[where], where[1]]
    return hit, np.where(claimed >= 0, ~hit, ~_in_ranges(boxes.size)[:, :, None])


def claims(
    detection: np.ndarray,
    target: np.ndarray,
    iou: np.ndarray,
    group: np.ndarray,
    preferred: np.ndarray,
    thresholds: np.ndarray,
) -> np.ndarray:
    """The box that each detection claims, or -1: int32 [N, S, J], for S sets of preferred boxes and J thresholds.

    detection, target, iou: [P] pairs, sorted by detection. group: int [N]; within one the detections, in their order,
    each claim the free box with the largest IoU (of several the last), preferred ones first. preferred: bool [T, S].

    The n-th detections of all groups are matched at once.
    """
    result = np.full((len(group), preferred.shape[1], len(thresholds)), -1, dtype=np.int32)
    taken = np.zeros((len(preferred), *result.shape[1:]), dtype=bool)
    claimants, starts, counts = np.unique(detection, return_index=True, return_counts=True)
    turn = ranks(group[claimants])
    for number in range(turn.max(initial=-1) + 1):
        chosen = np.flatnonzero(turn == number)
        lengths = counts[chosen]
        begins = np.cumsum(lengths) - lengths
        pairs = np.repeat(starts[chosen] - begins, lengths) + np.arange(lengths.sum())
        boxes, owner = target[pairs], np.repeat(np.arange(len(chosen)), lengths)
        free = (iou[pairs, None, None] >= thresholds) & ~taken[boxes]
        first = free & preferred[boxes, :, None]
        free = np.where(np.logical_or.reduceat(first, begins)[owner], first, free)
        value = np.where(free, iou[pairs, None, None], -1)
        best = np.maximum.reduceat(value, begins)
        place = np.where(free & (value == best[owner]), np.arange(len(pairs))[:, None, None], -1)
        last = np.maximum.reduceat(place, begins)
        rows, sets, levels = np.nonzero(last >= 0)
        found = boxes[last[rows, sets, levels]]
        result[claimants[chosen[rows]], sets, levels] = found
        taken[found, sets, levels] = True
    return result


def ranks(group: np.ndarray) -> np.ndarray:
    """How many earlier entries of ``group`` [N] have the same value."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(group) else np.zeros(0, int)
    lengths = np.diff(np.r_[first, len(group)])
    result = np.empty(len(group), dtype=np.int64)
    result[order] = np.arange(len(group)) - np.repeat(first, lengths)
    return result


def _in_ranges(bits: np.ndarray) -> np.ndarray:
    """bool [N, 4] by RANGES from the bits of ``outcomes.size_bits``."""
    sizes = (bits[:, None] >> np.arange(len(SIZES), dtype=np.uint8) & 1).astype(bool)
    return np.concatenate([np.ones((len(bits), 1), dtype=bool), sizes], axis=1)
