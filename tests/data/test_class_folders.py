"""Folders of images for each class: what is read, and what is refused in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import inspect, read_split, report_table, resolve, shapes
from acmix_exp.data.class_folders import read_class_folders
from acmix_exp.data.images import decode
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import CLASSIFY
from tests.data.builders import YoloSet, make_class_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_class_folders(tmp_path / "pets")


def test_the_class_of_an_image_is_its_folder(folder: Path) -> None:
    (folder / "train" / ".cache").mkdir()
    dataset = resolve(DatasetConfig(name="yolo", path=str(folder)), CLASSIFY)
    assert dataset.names == {0: "cat", 1: "dog"}
    for _ in range(2):  # read, then from the cache
        samples = read_split(dataset, "train")
        assert [(sample.image.name, sample.boxes.tolist()) for sample in samples] == [
            *[(f"{stem}.jpg", [[0, 0.5, 0.5, 1, 1]]) for stem in "abc"],
            *[(f"{stem}.jpg", [[1, 0.5, 0.5, 1, 1]]) for stem in "ab"],
        ]
    inspection = inspect(dataset)
    assert inspection.counts == {"train": {"cat": 3, "dog": 2}, "val": {"cat": 1, "dog": 1}}
    assert inspection.problems == {"remarks on how the files were read": 1}
    assert inspection.labels["splits"]["train"] == {"images": 5, "boxes": [3, 2]}
    assert report_table(inspection)
    copy = shutil.copytree(folder, folder.parent / "copy")
    assert inspect(read_class_folders(copy)).fingerprint == inspection.fingerprint
    (copy / "train/cat/c.jpg").rename(copy / "train/dog/c.jpg")
    assert inspect(read_class_folders(copy)).fingerprint != inspection.fingerprint


def test_a_damaged_image_is_left_out(folder: Path) -> None:
    (folder / "train/cat/b.jpg").write_bytes(b"no image")
    inspection = inspect(read_class_folders(folder))
    assert inspection.images == {"train": 4, "val": 2}
    assert inspection.problems == {"unreadable images, left out": 1}


def test_each_layout_names_the_other(folder: Path, tmp_path: Path) -> None:
    boxes = YoloSet(tmp_path / "boxes")
    with pytest.raises(ConfigError, match=r"data.yaml: a data.yaml, as labels of boxes, polygons and keypoints have; "):
        resolve(boxes.config, CLASSIFY)
    with pytest.raises(ConfigError, match=r"has a folder of images for each class, which model.task=classify reads"):
        resolve(DatasetConfig(name="yolo", path=str(folder)))
    with pytest.raises(ConfigError, match=r"dataset.path=null: .* must be a folder of images for each class$"):
        resolve(DatasetConfig(name="yolo"), CLASSIFY)
    with pytest.raises(ConfigError, match=r"coco8: .* use dataset=yolo dataset.path=FOLDER, or dataset=shapes"):
        resolve(DatasetConfig(name="coco8"), CLASSIFY)


def test_shapes_are_cut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "COUNTS", {"train": 4, "val": 13})
    dataset = resolve(DatasetConfig(name="shapes", root=str(tmp_path)), CLASSIFY)
    inspection = inspect(dataset)
    assert inspection.counts["train"] == dict.fromkeys(("cross", "ring", "square", "triangle"), 1)
    pixels, _, drawn = shapes.draw_objects(np.random.RandomState(10_000))
    image = tmp_path / f"shapes-classify-v1/train/{shapes.NAMES[drawn[0].label]}/0000-0.png"
    cut = decode(image.read_bytes(), ".png")
    assert cut is not None
    height, width = cut.shape[:2]
    assert height == width >= 2 * drawn[0].radius
    half, at = height // 2, drawn[0]
    np.testing.assert_array_equal(cut[..., ::-1], pixels[at.y - half : at.y + half + 1, at.x - half : at.x + half + 1])
    kept = image.stat().st_mtime_ns
    assert resolve(DatasetConfig(name="shapes", root=str(tmp_path)), CLASSIFY).splits == dataset.splits
    assert image.stat().st_mtime_ns == kept
    image.unlink()
    assert inspect(resolve(DatasetConfig(name="shapes", root=str(tmp_path)), CLASSIFY)).images == inspection.images
