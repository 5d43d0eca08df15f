"""The Dataset and Sample types, which every other module of this package uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """A data set that has been found, generated or converted; its files have not been read yet.

    ``splits`` has train and val, and test if the data set has one; image paths are absolute and sorted. The labels
    of an image are where ultralytics looks for them: /images/ replaced by /labels/, suffix .txt.
    """

    name: str
    names: dict[int, str]  # class names
    splits: dict[str, tuple[Path, ...]]
    source: Path  # the data.yaml or folder it was read from
    setting: str = ""  # the config key and value that error messages name
    pose_values: int = 0  # values after the box in a pose label; they are ignored
    notes: tuple[str, ...] = ()  # what the conversion left out, one line each


@dataclass(frozen=True)
class Sample:
    """One image and its boxes.

    ``height`` and ``width`` in pixels, after EXIF orientation. ``boxes`` is float32 ``[n, 5]``: class, centre x,
    centre y, width, height as fractions of the image, without degenerate boxes and duplicates.
    """

    image: Path
    height: int
    width: int
    boxes: np.ndarray
