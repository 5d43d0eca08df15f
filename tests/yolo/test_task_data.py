"""Samples of segmentation, pose and oriented boxes: those that ultralytics itself makes of the same files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset

from acmix_exp.data import read_split
from acmix_exp.data.yolo_layout import read_data_yaml
from acmix_exp.yolo.sample_dataset import SampleDataset, data_of, seeded
from tests.example_sets import coco8_pose, coco8_seg, dota8
from tests.yolo.task_sets import TASKS, make_task_set

NOT_AUGMENTED = "polygons, of which the boxes are used"  # ultralytics cuts the polygon, here the box is cut
PEOPLES = {  # as people have them
    "coco8-seg": ("segment", coco8_seg),
    "coco8-pose": ("pose", coco8_pose),
    "coco8-pose of x and y": ("pose", partial(coco8_pose, values=2)),
    "dota8": ("obb", dota8),
    NOT_AUGMENTED: ("detect", coco8_seg),
    "keypoints, of which the boxes are used": ("detect", coco8_pose),
}


@pytest.mark.parametrize(
    ("name", "split"),
    [(name, split) for name in (*TASKS, *PEOPLES) for split in ("train", "val")[name == NOT_AUGMENTED :]],
)
def test_equal_those_of_ultralytics(tmp_path: Path, name: str, split: str) -> None:
    if name in PEOPLES:
        task, make = PEOPLES[name]
        dataset = read_data_yaml(make(tmp_path), task=task)
    else:
        task, dataset = name, make_task_set(tmp_path, name)
    args: Any = get_cfg(overrides={"imgsz": 64, "task": task, "mosaic": 1.0, "cache": "ram"})
    samples = read_split(dataset, split)
    ours = SampleDataset(samples, args, data_of(dataset), train=split == "train", batch=4, stride=32, split=split)
    folder = str(dataset.splits[split][0].parent)
    written = {"kpt_shape": [17, 3]} if "keypoints" in name else {}  # of data.yaml
    stock = build_yolo_dataset(args, folder, 4, data_of(dataset) | written, mode=split, rect=split == "val", stride=32)
    assert ours.im_files == stock.im_files
    for i in range(len(ours)):
        with seeded("sample", 0, 3, i):
            expected = stock[i]
        found = ours[3, i]
        assert found.keys() == expected.keys()
        for key in found.keys() - {"im_file", "ori_shape", "resized_shape", "ratio_pad"}:
            torch.testing.assert_close(found[key], expected[key], msg=key)


def test_masks_are_those_of_the_drawn_shapes(tmp_path: Path) -> None:
    """The mask of a label, at a quarter of the image's size, covers the box of its shape and nothing else."""
    dataset = make_task_set(tmp_path, "segment")
    args: Any = get_cfg(overrides={"imgsz": 128, "task": "segment"})
    samples = read_split(dataset, "val")
    data = SampleDataset(samples, args, data_of(dataset), train=False, batch=1, stride=32, split="val")
    for index, item in enumerate(data[i] for i in range(len(data))):
        height, width = item["img"].shape[1:]
        for number, (x, y, w, h) in enumerate((item["bboxes"] * torch.tensor([width, height] * 2)).tolist(), 1):
            rows, columns = np.nonzero(item["masks"][0].numpy() == number)
            edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * 4
            assert abs(edges - [x - w / 2, y - h / 2, x + w / 2, y + h / 2]).max() <= 6, (index, number)
