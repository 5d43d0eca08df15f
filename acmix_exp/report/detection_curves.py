"""Curves of a run from ``outcomes.npz``: precision over recall, F1 over confidence, and its confusion matrix.

Source: ``ap_per_class`` and ``compute_ap`` of ultralytics, at an IoU of 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acmix_exp.outcomes import FILE, Outcomes
from acmix_exp.report.confusion import confusion_matrix
from acmix_exp.run.replicates import DAMAGED, RECALLS

CONFIDENCES = np.linspace(0, 1, 1000)
EPSILON = 1e-16


@dataclass(frozen=True, eq=False)
class DetectionCurves:
    """Means over the classes that have a box in the split.

    at_recall: float64 [101], the envelope of the precision at ``RECALLS``; its area is mAP50. precision, recall, f1:
    float64 [1000], of the detections above ``CONFIDENCES``. confusion: as in confusion.py; None if a version before
    0.2.0 wrote the file. classes: str [C].
    """

    at_recall: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    confusion: np.ndarray | None
    classes: tuple[str, ...]

    @property
    def area(self) -> float:
        """mAP50."""
        return float((self.at_recall[1:] + self.at_recall[:-1]).sum() / 2 / (len(RECALLS) - 1))


def detection_curves(outcomes: Outcomes) -> DetectionCurves:
    """The curves of an evaluation. Raises ValueError without any box."""
    targets, hit = outcomes.targets.sum(0, dtype=np.int64), (outcomes.matches & 1).astype(bool)
    present = np.flatnonzero(targets)
    if not len(present):
        raise ValueError("no class has a box")
    at_recall, precision, recall = (np.zeros((len(present), n)) for n in (len(RECALLS), *[len(CONFIDENCES)] * 2))
    for row, label in enumerate(present):
        chosen = outcomes.label == label
        if not chosen.any():
            continue
        found = np.cumsum(hit[chosen])
        recalls, precisions = found / targets[label], found / np.arange(1, len(found) + 1)
        confidence = -outcomes.confidence[chosen].astype(np.float64)
        recall[row] = np.interp(-CONFIDENCES, confidence, recalls, left=0)
        precision[row] = np.interp(-CONFIDENCES, confidence, precisions, left=1)
        ends = np.concatenate([precisions, [0.0, 0.0]])
        envelope = np.maximum.accumulate(np.concatenate([[1.0], ends])[::-1])[::-1]
        at_recall[row] = np.interp(RECALLS, np.concatenate([[0.0], recalls, [recalls[-1], 1.0]]), envelope)
    f1 = 2 * precision * recall / (precision + recall + EPSILON)
    return DetectionCurves(
        at_recall=at_recall.mean(0),
        precision=precision.mean(0),
        recall=recall.mean(0),
        f1=f1.mean(0),
        confusion=confusion_matrix(outcomes),
        classes=tuple(map(str, outcomes.classes)),
    )


def read_curves(run_dir: Path) -> DetectionCurves | None:
    """The curves of a run; None if it has no readable outcomes.npz."""
    try:
        return detection_curves(Outcomes.load(run_dir / FILE))
    except DAMAGED:
        return None
