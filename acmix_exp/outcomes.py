"""What an evaluation found, image by image: enough to score it again on any resample of its images.

``outcomes.npz`` of a run. Floor 0: a run writes it, the report reads it, and nothing here imports torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from acmix_exp.files import write_arrays

FILE = "outcomes.npz"
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU, as in mAP50-95


@dataclass(frozen=True)
class Outcomes:
    """Detections of I images and C classes in descending confidence, N in all, and the targets they were matched to.

    images:     str [I], paths below the folder that they have in common, sorted
    classes:    str [C]
    targets:    uint16 [I, C], boxes of the ground truth
    image:      uint32 [N], index into ``images``
    label:      uint16 [N], index into ``classes``
    confidence: float32 [N]; detections of equal confidence are in the order in which they were scored
    matches:    uint16 [N], bit j is set where the detection is a true positive at ``THRESHOLDS[j]``
    """

    images: np.ndarray
    classes: np.ndarray
    targets: np.ndarray
    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    matches: np.ndarray

    def save(self, path: Path) -> None:
        """Write the file as a whole or not at all."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        """Read the file. Raises OSError, ValueError, KeyError or zipfile.BadZipFile where it is not whole."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def pack(true_positive: np.ndarray) -> np.ndarray:
    """bool [N, 10] as the bits of uint16 [N]."""
    return (true_positive.astype(np.uint16) << np.arange(len(THRESHOLDS), dtype=np.uint16)).sum(1, dtype=np.uint16)


def unpack(matches: np.ndarray) -> np.ndarray:
    """uint16 [N] as bool [N, 10]."""
    return (matches[:, None] >> np.arange(len(THRESHOLDS), dtype=np.uint16) & 1).astype(bool)


def relative_names(paths: list[str]) -> list[str]:
    """Each path below the folder that all have in common, with forward slashes: no two are the same."""
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(os.path.relpath(path, common)).as_posix() for path in paths]
