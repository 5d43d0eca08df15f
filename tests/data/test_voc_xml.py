"""Pascal VOC folders: classes, boxes, splits, and faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import Dataset, inspect, read_split, resolve
from acmix_exp.errors import ConfigError
from tests.data.builders import VocSet, tree_state


def stems(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [image.stem for image in images] for split, images in dataset.splits.items()}


def test_conversion(voc_set: VocSet) -> None:
    dataset = resolve(voc_set.config)
    assert dataset.name == "cells"
    assert dataset.names == {0: "cat", 1: "dog"}
    found = inspect(dataset)
    assert sum(found.images.values()) == 10
    assert found.problems == {}
    sample = read_split(dataset, "val")[0]
    assert (sample.height, sample.width) == (30, 40)
    np.testing.assert_allclose(
        sample.boxes, [[1, 0.5, 12.5 / 30, 0.5, 0.5], [0, 0.1, 0.1, 0.2, 0.2]], rtol=0, atol=1e-7
    )


def test_split_without_lists_is_four_to_one_and_stable(voc_set: VocSet, tmp_path: Path) -> None:
    found = stems(resolve(voc_set.config))
    assert (len(found["train"]), len(found["val"])) == (8, 2)
    assert sorted(found["train"] + found["val"]) == [f"p{index}" for index in range(10)]
    assert stems(resolve(VocSet(tmp_path / "elsewhere").config)) == found
    assert found["val"] == ["p1", "p7"]


def test_lists_decide_the_splits(voc_set: VocSet) -> None:
    voc_set.write_list("train", "p3 p1")
    voc_set.write_list("val", "p2")
    voc_set.write_list("test", "p9 p8")
    voc_set.write_list("trainval", "p1 p2 p3")
    voc_set.write_list("dog_train", "p7")
    assert stems(resolve(voc_set.config)) == {"train": ["p1", "p3"], "val": ["p2"], "test": ["p8", "p9"]}


@pytest.mark.parametrize(
    ("lists", "counts"),
    [
        ({"trainval": "p0 p1 p2 p3 p4", "test": "p5"}, {"train": 4, "val": 1, "test": 1}),
        ({"train": "p0 p1 p2 p3 p4"}, {"train": 4, "val": 1}),
        ({"val": "p0 p1", "trainval": "p0 p1 p2 p3"}, {"train": 2, "val": 2}),
        ({"train": "p0 p1", "trainval": "p0 p1 p2"}, {"train": 2, "val": 1}),
        ({"test": "p0 p1 p2 p3 p4"}, {"train": 4, "val": 1, "test": 5}),
    ],
    ids=["trainval-test", "train", "val-trainval", "train-trainval", "test"],
)
def test_splits_that_have_no_list(lists: dict[str, str], counts: dict[str, int], voc_set: VocSet) -> None:
    for name, names in lists.items():
        voc_set.write_list(name, names)
    found = stems(resolve(voc_set.config))
    assert {split: len(names) for split, names in found.items()} == counts
    together = [name for names in found.values() for name in names]
    assert len(set(together)) == len(together)


def test_images_folder_and_parent_folder(voc_set: VocSet) -> None:
    (voc_set.root / "JPEGImages").rename(voc_set.root / "images")
    (voc_set.root / "Annotations").rename(voc_set.root / "x")
    (voc_set.root / "inner").mkdir()
    (voc_set.root / "images").rename(voc_set.root / "inner" / "images")
    (voc_set.root / "x").rename(voc_set.root / "inner" / "Annotations")
    assert len(resolve(voc_set.config).splits["train"]) == 8


def test_left_out_objects_are_noted_with_file_and_number(voc_set: VocSet) -> None:
    flat = voc_set.annotate("p0", ("cat", 0, 0, 8, 6), ("dog", 7, 7, 7, 7))
    far = voc_set.annotate("p1", ("cat", 0, 0, 8, 6), ("dog", 50, 5, 60, 20))
    cut = voc_set.annotate("p2", ("cat", 35, 5, 50, 20), ("dog", 0, 0, 41, 30))
    hard = voc_set.annotate("p3", ("cat", 0, 0, 8, 6), extra="<difficult>1</difficult>")
    (voc_set.root / "JPEGImages" / "p4.jpg").unlink()
    alone = voc_set.root / "Annotations" / "p5.xml"
    alone.unlink()
    dataset = resolve(voc_set.config)
    notes = "\n".join(dataset.notes)
    for part in (
        f"{flat}: object 2: zero or negative area",
        f"{far}: object 2: out of range",
        f"{cut}: object 1: 35 5 50 20 reaches beyond 40x30 pixels, box clipped",
        f"{hard}: object 1: cat is marked difficult",
        "p4.xml: annotation without image",
        "p5.jpg: image without annotation",
    ):
        assert part in notes
    assert len(dataset.notes) == 6
    assert inspect(dataset).warnings == list(dataset.notes)
    boxes = {s.image.stem: s.boxes for split in dataset.splits for s in read_split(dataset, split)}
    assert [len(boxes[stem]) for stem in ("p0", "p1", "p2", "p3")] == [1, 1, 2, 0]
    np.testing.assert_allclose(boxes["p2"][0], [0, 37.5 / 40, 12.5 / 30, 5 / 40, 0.5], rtol=0, atol=1e-6)
    np.testing.assert_allclose(boxes["p2"][1], [1, 0.5, 0.5, 1, 1], rtol=0, atol=1e-6)


def test_size_is_read_from_the_image_if_the_annotation_lacks_it(voc_set: VocSet) -> None:
    expected = inspect(resolve(voc_set.config)).fingerprint
    for index in range(10):
        voc_set.annotate(f"p{index}", ("dog", 10, 5, 30, 20), ("cat", 0, 0, 8, 6), size="0x0")
    assert inspect(resolve(voc_set.config)).fingerprint == expected


def test_converted_once_and_again_after_a_change(voc_set: VocSet, cache_home: Path) -> None:
    first = resolve(voc_set.config)
    before = tree_state(cache_home / "voc_xml")
    assert resolve(voc_set.config) == first
    assert tree_state(cache_home / "voc_xml") == before
    voc_set.annotate("p0", ("bird", 10, 5, 30, 20))
    assert resolve(voc_set.config).names == {0: "bird", 1: "cat", 2: "dog"}


def test_fingerprint_is_that_of_a_copy(voc_set: VocSet, tmp_path: Path) -> None:
    copy = VocSet(tmp_path / "copy" / "of")
    assert inspect(resolve(copy.config)).fingerprint == inspect(resolve(voc_set.config)).fingerprint


def test_the_users_folder_is_unchanged(voc_set: VocSet) -> None:
    before = tree_state(voc_set.root)
    dataset = resolve(voc_set.config)
    inspect(dataset)
    read_split(dataset, "train")
    assert tree_state(voc_set.root) == before


def test_folder_of_the_conversion(voc_set: VocSet, tmp_path: Path, cache_home: Path) -> None:
    dataset = resolve(DatasetConfig(name="voc_xml", path=str(voc_set.root), root=str(tmp_path / "root")))
    assert dataset.splits["train"][0].is_relative_to(tmp_path / "root" / "voc_xml")
    assert not (cache_home / "voc_xml").exists()


def check_error(config: DatasetConfig, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(config))
    assert str(caught.value).startswith(f"dataset.path={config.path}: {what}")
    assert "; must be " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unusable_folder(voc_set: VocSet, tmp_path: Path, cache_home: Path) -> None:
    check_error(DatasetConfig(name="voc_xml", path=str(tmp_path / "no")), "no such folder")
    check_error(DatasetConfig(name="voc_xml", path=str(voc_set.root / "Annotations" / "p0.xml")), "a file")
    check_error(DatasetConfig(name="voc_xml", path=str(voc_set.root / "JPEGImages")), "no folder Annotations")
    shutil.rmtree(voc_set.root / "JPEGImages")
    check_error(voc_set.config, "no images in JPEGImages or images")
    assert not list(cache_home.glob("voc_xml/*"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<annotation>\n<object>", "not XML: no element found: line 2"),
        ("", "not XML: no element found: line 1"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "unknown encoding"),
        ("<annotation><object/></annotation>", "object 1: no name"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 1: no <bndbox>"),
        (
            "<annotation><object><name>cat</name><bndbox><xmin>a</xmin></bndbox></object></annotation>",
            "object 1: xmin is 'a', not a number",
        ),
    ],
)
def test_unusable_annotation(content: str, what: str, voc_set: VocSet, cache_home: Path) -> None:
    path = voc_set.root / "Annotations" / "p3.xml"
    path.write_text(content)
    check_error(voc_set.config, f"{path}: {what}")
    assert not list(cache_home.glob("voc_xml/*"))
    assert not list(cache_home.glob("voc_xml/.*"))


def test_link_to_a_missing_image(voc_set: VocSet) -> None:
    link = voc_set.root / "JPEGImages" / "p0.jpg"
    link.unlink()
    link.symlink_to("nowhere.jpg")
    found = inspect(resolve(voc_set.config))
    assert found.warnings == [f"{link}: No such file or directory, image left out"]


def test_no_objects_at_all(voc_set: VocSet) -> None:
    for index in range(10):
        voc_set.annotate(f"p{index}")
    check_error(voc_set.config, "no object in any annotation")
