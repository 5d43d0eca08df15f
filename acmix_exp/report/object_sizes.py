"""AP by object size from ``outcomes.npz``, as COCO defines it.

Source: COCOeval of pycocotools (``evaluateImg``, ``accumulate``), without crowds, which no data set here has.
"""

from __future__ import annotations

import numpy as np

from acmix_exp.matching import MOST, RANGES, claims_by_size, in_ranges, ranks
from acmix_exp.outcomes import THRESHOLDS, Boxes, Outcomes
from acmix_exp.run.replicates import RECALLS


def average_precision_by_size(outcomes: Outcomes) -> dict[str, np.ndarray] | None:
    """AP by size range, ``all`` first: float64 [C, 10], NaN for a class without a box in the range.

    The mean over the classes and thresholds that are not NaN is COCO's AP. Of an image and class the 100 detections of
    the highest confidence count. None if the outcomes were read from version 1 of the file.
    """
    if (boxes := outcomes.boxes) is None:
        return None
    hit, ignored = matches_by_size(outcomes, boxes)
    sized = in_ranges(boxes.target_size)
    counted = ranks(outcomes.image.astype(np.int64) * len(outcomes.classes) + outcomes.label) < MOST
    result = {name: np.full((len(outcomes.classes), len(THRESHOLDS)), np.nan) for name in RANGES}
    for label in range(len(outcomes.classes)):
        chosen = np.flatnonzero(counted & (outcomes.label == label))
        targets = sized[boxes.target_label == label].sum(0)
        found = np.cumsum(~ignored[chosen], axis=0, dtype=np.int64)
        for j in np.flatnonzero(targets):
            for k in range(len(THRESHOLDS)):
                hits = np.flatnonzero(hit[chosen, j, k])
                result[RANGES[j]][label, k] = _area(found[hits, j, k], int(targets[j]))
    return result


def mean(values: np.ndarray) -> float | None:
    """The mean over classes and thresholds; None if no class has a box."""
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _area(found: np.ndarray, targets: int) -> float:
    """AP of one class, range and threshold. found: [K], at each true positive how many detections there are so far."""
    precision = np.arange(1, len(found) + 1) / found
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    recall = np.arange(1, len(found) + 1) / targets
    return float(envelope[np.searchsorted(recall, RECALLS, "left")].mean())


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
