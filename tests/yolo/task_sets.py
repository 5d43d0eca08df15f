"""Small data sets of the embedded shapes, one for each task, and the configs that train on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.config import Config
from acmix_exp.data import Dataset, shapes
from acmix_exp.data.yolo_layout import read_data_yaml
from tests.yolo.builders import bare, make_config

TASKS = ("segment", "pose", "obb")
COUNTS = {"train": 8, "val": 6}


def make_task_set(root: Path, task: str) -> Dataset:
    """Eight images to train on and six for val, as ``dataset=shapes`` has them for the task."""
    before = dict(shapes.COUNTS)
    shapes.COUNTS.update(COUNTS)
    try:
        return read_data_yaml(shapes.make_shapes(root, task), name="shapes", task=task)
    finally:
        shapes.COUNTS.update(before)


def task_config(task: str, **changes: Any) -> Config:
    """As ``make_config``: a network for the task with ACmix after P5."""
    return make_config(model__task=task, **changes)


def without_blocks(config: Config) -> Config:
    """The baseline of a config; its task stays."""
    return replace(bare(config), model=replace(bare(config).model, task=config.model.task))
