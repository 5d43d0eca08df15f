"""Detections of an evaluation per image, from which mAP can be recomputed on any resample of the images.

The file ``outcomes.npz`` of a run: written by the run's child process, read by the report. Imports no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from acmix_exp.files import write_arrays

FILE = "outcomes.npz"
VERSION = 2  # of the file; a file of version 1 has no entry ``version``
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU thresholds of mAP50-95
# Areas in pixels of the original image, both ends included, as in COCO (area ranges of pycocotools' ``Params``).
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST_PROBABLE = 5  # classes of an image that count for top-5
CONFUSION_IOU, CONFUSION_CONFIDENCE = 0.45, 0.25  # a confusion matrix counts what is above both, as in ultralytics


@dataclass(frozen=True)
class Boxes:
    """Of N detections and T ground-truth boxes their sizes, and the P pairs of them in one image that overlap.

    Pairs of one class count from IoU 0.5 on; those of any classes above ``CONFUSION_IOU`` where the confidence is above
    ``CONFUSION_CONFIDENCE``. The file has those that a matching needs (``matching.with_claimed_pairs``). From this
    ``acmix_exp.report.object_sizes`` computes AP by size, and ``acmix_exp.report.confusion`` the confusion matrix.

    size:           uint8 [N], bit j is set if the detection's area is in the j-th range of ``SIZES``
    target_image:   uint32 [T], target_label: uint16 [T], target_size: uint8 [T], by image
    pair_detection: uint32 [P], pair_target: uint32 [P], pair_iou: float32 [P], by detection, then by box
    """

    size: np.ndarray
    target_image: np.ndarray
    target_label: np.ndarray
    target_size: np.ndarray
    pair_detection: np.ndarray
    pair_target: np.ndarray
    pair_iou: np.ndarray


@dataclass(frozen=True)
class Outcomes:
    """N detections on I images with C classes, in descending confidence, and the number of ground-truth boxes.

    images:     str [I], paths relative to their common folder, sorted
    classes:    str [C]
    targets:    uint16 [I, C], number of ground-truth boxes
    image:      uint32 [N], index into ``images``
    label:      uint16 [N], index into ``classes``
    confidence: float32 [N]; detections of equal confidence keep the order in which they were scored
    matches:    uint16 [N], bit j is set if the detection is a true positive at ``THRESHOLDS[j]``
    boxes:      None if version 1 of the file was read
    """

    images: np.ndarray
    classes: np.ndarray
    targets: np.ndarray
    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray
    boxes: Boxes | None = None

    def save(self, path: Path) -> None:
        """Write the file atomically: an array of each name, and ``version``. Raises OSError."""
        arrays = {name: array for name, array in vars(self).items() if name != "boxes"}
        if self.boxes is not None:
            arrays |= vars(self.boxes) | {"version": np.array(VERSION, np.uint8)}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        """Read the file. Raises OSError, ValueError, KeyError or zipfile.BadZipFile if it is damaged."""
        with np.load(path, allow_pickle=False) as arrays:
            content = {field.name: arrays[field.name] for field in fields(cls) if field.name != "boxes"}
            boxes = Boxes(*(arrays[field.name] for field in fields(Boxes))) if "version" in arrays else None
            return cls(**content, boxes=boxes)


@dataclass(frozen=True)
class ClassOutcomes:
    """What a classifier says of I images with C classes; in the file of a run too.

    images:     str [I], paths relative to their common folder, sorted
    classes:    str [C]
    target:     uint16 [I], index into ``classes``
    predicted:  uint16 [I, min(5, C)], the most probable classes, the most probable first
    confidence: float32 [I], the probability of the first
    """

    images: np.ndarray
    classes: np.ndarray
    target: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    def hits(self, first: int) -> np.ndarray:
        """bool [I], whether the class of an image is among its ``first`` most probable ones."""
        return np.asarray((self.predicted[:, :first] == self.target[:, None]).any(1))

    def save(self, path: Path) -> None:
        """Write the file atomically: an array of each name, and ``version``. Raises OSError."""
        write_arrays(path, vars(self) | {"version": np.array(VERSION, np.uint8)})


def load_outcomes(path: Path) -> Outcomes | ClassOutcomes:
    """The outcomes of a run of any task. Raises as ``Outcomes.load``."""
    with np.load(path, allow_pickle=False) as arrays:
        if "predicted" in arrays:
            return ClassOutcomes(*(arrays[field.name] for field in fields(ClassOutcomes)))
    return Outcomes.load(path)


def size_bits(areas: np.ndarray) -> np.ndarray:
    """uint8, bit j set if the area is in the j-th range of ``SIZES``; on a limit it is in two.

    areas: in pixels, float. They are rounded to tenths, because boxes in float32 are hardly more exact.
    """
    rounded = np.round(areas.astype(np.float64), 1)
    bits = np.zeros(areas.shape, dtype=np.uint8)
    for j, (low, high) in enumerate(SIZES.values()):
        bits |= ((rounded >= low) & (rounded <= high)).astype(np.uint8) << j
    return bits


def pack(true_positive: np.ndarray) -> np.ndarray:
    """Pack bool [N, 10] into the bits of uint16 [N]."""
    return (true_positive.astype(np.uint16) << np.arange(len(THRESHOLDS), dtype=np.uint16)).sum(1, dtype=np.uint16)


def unpack(matches: np.ndarray) -> np.ndarray:
    """Unpack uint16 [N] into bool [N, 10]."""
    return (matches[:, None] >> np.arange(len(THRESHOLDS), dtype=np.uint16) & 1).astype(bool)


def relative_names(paths: list[str]) -> list[str]:
    """Each path relative to their common folder, with forward slashes; distinct paths stay distinct."""
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(os.path.relpath(path, common)).as_posix() for path in paths]
