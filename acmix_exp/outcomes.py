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
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU thresholds of mAP50-95


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
    """

    images: np.ndarray
    classes: np.ndarray
    targets: np.ndarray
    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray

    def save(self, path: Path) -> None:
        """Write the file atomically. Raises OSError."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        """Read the file. Raises OSError, ValueError, KeyError or zipfile.BadZipFile if it is damaged."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


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
