"""The confusion matrix of a run from ``outcomes.npz``, as ultralytics makes it."""

from __future__ import annotations

import numpy as np

from acmix_exp.matching import claims_of_any_class
from acmix_exp.outcomes import CONFUSION_CONFIDENCE, ClassOutcomes, Outcomes


def class_confusion(outcomes: ClassOutcomes) -> np.ndarray:
    """How many images of each class a classifier takes for which: int64 [C, C], predicted class by true class."""
    classes = len(outcomes.classes)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (outcomes.predicted[:, 0], outcomes.target), 1)
    return matrix


def confusion_matrix(outcomes: Outcomes, confidence: float = CONFUSION_CONFIDENCE) -> np.ndarray | None:
    """How many boxes of each class were found as which: int64 [C + 1, C + 1], predicted class by true class.

    The last row counts boxes that were not found, the last column detections without a box. Boxes and detections are
    matched whatever their class, above IoU 0.45, detections above ``confidence`` only, which is at least 0.25.

    None if the outcomes were written by version 1 of the file. Raises ValueError for a lower ``confidence``. Source:
    ``ConfusionMatrix.process_batch`` of ultralytics.
    """
    if confidence < CONFUSION_CONFIDENCE:
        raise ValueError(f"confidence={confidence}: must be at least {CONFUSION_CONFIDENCE}")
    if (boxes := outcomes.boxes) is None:
        return None
    claimed = claims_of_any_class(outcomes, boxes, confidence)
    counted = outcomes.confidence > confidence
    found, classes = claimed >= 0, len(outcomes.classes)
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(matrix, (outcomes.label[found], boxes.target_label[claimed[found]]), 1)
    matrix[:classes, classes] = np.bincount(outcomes.label[counted & ~found], minlength=classes)
    matrix[classes, :classes] = np.bincount(boxes.target_label, minlength=classes) - matrix[:classes, :classes].sum(0)
    return matrix
