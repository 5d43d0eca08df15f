from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset

from acmix_exp.data import Dataset, read_split
from acmix_exp.yolo.sample_dataset import SampleDataset, seeded
from tests.yolo.builders import NAMES, make_dataset

DATA = {"names": NAMES, "nc": 2, "channels": 3}


def build(dataset: Dataset, split: str = "train", **changes: object) -> SampleDataset:
    args = get_cfg(overrides={"imgsz": 64, "mosaic": 0.0, **changes})
    return SampleDataset(
        read_split(dataset, split), args, DATA, train=split == "train", batch=4, stride=32, split=split
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_equals_the_figure_of_ultralytics(tmp_path: Path, split: str) -> None:
    dataset = make_dataset(tmp_path, {"train": 6, "val": 6})
    ours = build(dataset, split)
    args = get_cfg(overrides={"imgsz": 64, "mosaic": 0.0, "task": "detect"})
    folder = str(dataset.splits[split][0].parent)
    stock = build_yolo_dataset(args, folder, 4, DATA, mode=split, rect=split == "val", stride=32)
    assert ours.im_files == stock.im_files
    for i in range(len(ours)):
        with seeded("sample", 0, 3, i):
            items = [ours[3, i], stock[i]]
        assert items[0].keys() == items[1].keys()
        for key in ("img", "cls", "bboxes", "batch_idx"):
            torch.testing.assert_close(items[0][key], items[1][key], msg=key)


def test_nothing_is_written_beside_the_images(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"train": 4})
    before = sorted(tmp_path.rglob("*"))
    list(build_dataloader(build(dataset), batch=2, workers=1, device=torch.device("cpu")))
    build(dataset, cache="ram")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_degenerate_boxes_are_dropped_in_both_formats(tmp_path: Path, split: str) -> None:
    dataset = make_dataset(tmp_path, {split: 2})
    label = tmp_path / "labels" / split / "000.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.0 0.2\n")
    (tmp_path / "labels" / split / "001.txt").write_text("")
    assert sorted(len(item["cls"]) for item in build(dataset, split).labels) == [0, 2]


def test_ram_cache_and_fraction(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"train": 6, "val": 6})
    for i, path in enumerate(dataset.splits["train"]):
        cv2.imwrite(str(path), np.full((64, 64, 3), i, np.uint8))
    cached, plain = build(dataset, cache="ram", fraction=0.5), build(dataset, fraction=0.5)
    assert len(cached) == len(plain) == 3
    assert all(np.array_equal(cached.load_image(i)[0], plain.load_image(i)[0]) for i in range(3))
    assert len(build(dataset, "val", fraction=0.5)) == 6


def test_boxes_are_copies(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"train": 1})
    samples = read_split(dataset, "train")
    args = get_cfg(overrides={"imgsz": 64})
    images = SampleDataset(samples, args, DATA, train=True, batch=1, stride=32, split="train")
    images.labels[0]["bboxes"][:] = 0
    assert samples[0].boxes[:, 1:].any()
