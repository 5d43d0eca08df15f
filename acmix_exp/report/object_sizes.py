"""AP by object size from ``outcomes.npz``, as COCO defines it.

Source: COCOeval of pycocotools (``evaluateImg``, ``accumulate``), without crowds, which no data set here has.
"""

from __future__ import annotations

import numpy as np

from acmix_exp.matching import RANGES, claims_by_size, in_ranges, ranks
from acmix_exp.outcomes import THRESHOLDS, Boxes, Outcomes
from acmix_exp.run.replicates import average_precision

MOST = 100  # detections of an image and class that count


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
    sized = in_ranges(boxes.target_size)
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
    claimed = claims_by_size(outcomes, boxes)
    inside = in_ranges(boxes.target_size)
    hit = np.zeros(claimed.shape, dtype=bool)
    where = np.nonzero(claimed >= 0)
    hit[where] = inside[claimed[where], where[1]]
    return hit, np.where(claimed >= 0, ~hit, ~in_ranges(boxes.size)[:, :, None])
