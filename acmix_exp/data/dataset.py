"""What a data set is to the rest of the house."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """A data set that has been found, generated or converted; nothing of it has been read yet.

    ``splits`` has train and val, and test where there is one; image paths are absolute and sorted. The labels
    of an image lie where ultralytics looks for them: /images/ replaced by /labels/, suffix .txt.
    """

    name: str
    names: dict[int, str]
    splits: dict[str, tuple[Path, ...]]
    source: Path  # the data.yaml or folder it came from
    setting: str = ""  # the config key and value that errors name
    pose_values: int = 0  # values that follow a box in pose labels, which are left aside
    notes: tuple[str, ...] = ()  # what was left out on the way, one line each


@dataclass(frozen=True)
class Sample:
    """One image and its boxes.

    ``height`` and ``width`` in pixels, after EXIF orientation. ``boxes`` is float32 ``[n, 5]``: class,
    centre x, centre y, width, height as fractions of the image; degenerate boxes and duplicates are gone.
    """

    image: Path
    height: int
    width: int
    boxes: np.ndarray
