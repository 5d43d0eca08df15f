"""Which detection claims which ground-truth box, from the pairs of an ``Outcomes`` that overlap. Imports no torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from acmix_exp.outcomes import CONFUSION_CONFIDENCE, CONFUSION_IOU, SIZES, THRESHOLDS, Boxes, Outcomes

RANGES = ("all", *SIZES)
MOST = 100  # detections of an image and class that count for COCO's AP


def claims_by_size(outcomes: Outcomes, boxes: Boxes) -> np.ndarray:
    """The box of its class that each detection claims, or -1: int32 [N, 4, 10], by RANGES and THRESHOLDS.

    In each range boxes inside come first. Source: ``COCOeval.evaluateImg`` of pycocotools.
    """
    detection, target, iou = boxes.pair_detection, boxes.pair_target, boxes.pair_iou
    same = (outcomes.label[detection] == boxes.target_label[target]) & (iou >= THRESHOLDS[0])
    group = outcomes.image.astype(np.int64) * len(outcomes.classes) + outcomes.label
    thresholds = THRESHOLDS.astype(iou.dtype)
    return claims(detection[same], target[same], iou[same], group, in_ranges(boxes.target_size), thresholds)


def claims_of_any_class(outcomes: Outcomes, boxes: Boxes, confidence: float = CONFUSION_CONFIDENCE) -> np.ndarray:
    """The box above ``CONFUSION_IOU`` that each detection above ``confidence`` claims, or -1: int32 [N].

    Source: ``ConfusionMatrix.process_batch`` of ultralytics.
    """
    detection, target, iou = boxes.pair_detection, boxes.pair_target, boxes.pair_iou
    above = (outcomes.confidence[detection] > confidence) & (iou > CONFUSION_IOU)
    preferred = np.ones((len(boxes.target_label), 1), dtype=bool)
    lowest = np.zeros(1, dtype=iou.dtype)
    return claims(detection[above], target[above], iou[above], outcomes.image, preferred, lowest)[:, 0, 0]


def with_claimed_pairs(outcomes: Outcomes) -> Outcomes:
    """Without the pairs whose detection claims another box, or none: the claims of the others are the same.

    They also are where only the first detections count: claims are made in descending confidence.
    """
    boxes = outcomes.boxes
    assert boxes is not None
    claimed = np.concatenate(
        [
            claims_by_size(outcomes, boxes).reshape(len(outcomes.image), len(RANGES) * len(THRESHOLDS)),
            claims_of_any_class(outcomes, boxes)[:, None],
        ],
        axis=1,
    )
    kept = (claimed[boxes.pair_detection] == boxes.pair_target[:, None].astype(np.int64)).any(1)
    pairs = {name: getattr(boxes, name)[kept] for name in ("pair_detection", "pair_target", "pair_iou")}
    return replace(outcomes, boxes=replace(boxes, **pairs))


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


def in_ranges(bits: np.ndarray) -> np.ndarray:
    """bool [N, 4] by RANGES from the bits of ``outcomes.size_bits``."""
    sizes = (bits[:, None] >> np.arange(len(SIZES), dtype=np.uint8) & 1).astype(bool)
    return np.concatenate([np.ones((len(bits), 1), dtype=bool), sizes], axis=1)
