"""The Dataset and Sample types, which every other module of this package uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of a data set for ``model.task=pose``.

    values: per keypoint in a label file: 2 (x y) or 3 (x y visible). flip: which keypoint each one is in a mirrored
    image; empty: not said, and no image is mirrored. sigmas: of the similarity of keypoints (OKS); empty: the default.
    names: of each class those of its keypoints, which no result depends on; empty: not said.
    """

    count: int
    values: int
    flip: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()
    names: tuple[tuple[str, ...], ...] = field(default=(), repr=False)  # the fingerprint has what repr shows


@dataclass(frozen=True)
class Dataset:
    """A data set that has been found, generated or converted; its files have not been read yet.

    ``splits`` has train and val, and test if the data set has one; image paths are absolute and sorted. The label
    file of an image is what ``label_files.LabelFiles`` finds.
    """

    name: str
    names: dict[int, str]  # class names
    splits: dict[str, tuple[Path, ...]]
    source: Path  # the data.yaml or folder it was read from
    setting: str = ""  # the config key and value that error messages name
    pose_values: int = 0  # values after the box in a pose label; ignored unless the task is pose
    task: str = "detect"  # what its labels are read for, a key of ``model_tasks.TASKS``
    keypoints: Keypoints | None = None  # of the task pose
    notes: tuple[str, ...] = ()  # what the conversion left out, one line each
    remarks: tuple[str, ...] = ()  # how the files were read where that may surprise, one line each
    read: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # by split, the folders and lists that were read
    split_made: str = ""  # how the splits were made, such as "seeded split 80/20, seed 0"; empty: as the file says
    # Of a converted data set: for each image the user's image, for each label file the user's annotation file.
    origins: Mapping[Path, Path] = field(default_factory=dict)

    def shown(self, path: Path) -> Path:
        """The file that a message names for an image or label file: the user's, not that of the conversion."""
        return self.origins.get(path, path)


@dataclass(frozen=True)
class Sample:
    """One image and its objects.

    ``height`` and ``width`` in pixels, after EXIF orientation. ``boxes`` is float32 ``[n, 5]``: class, centre x,
    centre y, width, height as fractions of the image, without degenerate boxes and duplicates. Of classify it is one
    row: the class, and the whole image.
    """

    image: Path
    height: int
    width: int
    boxes: np.ndarray
    # Of each object, in the order of boxes, what its task needs beside the box: float32 [k, 2], the points of a polygon
    # or the four corners, or [k, 3], keypoints with x, y and visibility (0, 1 or 2). Empty for detection.
    forms: tuple[np.ndarray, ...] = ()
