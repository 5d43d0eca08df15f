"""A small set of the embedded shapes with a folder for each class, and the config that trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acmix_exp.config import Config
from acmix_exp.data import Dataset, shapes
from acmix_exp.data.class_folders import read_class_folders
from acmix_exp.model_tasks import CLASSIFY
from tests.yolo.builders import make_config

COUNTS = {"train": 6, "val": 13}  # of images that the objects are cut out of


def make_class_set(root: Path) -> Dataset:
    before = dict(shapes.COUNTS)
    shapes.COUNTS.update(COUNTS)
    try:
        return read_class_folders(shapes.make_shapes(root, CLASSIFY), name="shapes")
    finally:
        shapes.COUNTS.update(before)


def class_config(**changes: Any) -> Config:
    """As ``make_config``: a classifier with ACmix after P5."""
    return make_config(**{"model__task": CLASSIFY, **changes})
