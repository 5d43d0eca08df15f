"""Counts, problems and the fingerprint."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from acmix_exp.data import Inspection, inspect, read_split, report_table, resolve, scan
from tests.data.builders import YoloSet, write_image


def fingerprint(yolo_set: YoloSet) -> str:
    return inspect(resolve(yolo_set.config)).fingerprint


def test_counts(yolo_set: YoloSet) -> None:
    yolo_set.label("train/a", "1 0.5 0.5 0.5 0.5\n")
    found = inspect(resolve(yolo_set.config))
    assert found.images == {"train": 3, "val": 2}
    assert found.boxes == {"train": 5, "val": 4}
    assert found.counts == {"train": {"cat": 2, "dog": 3}, "val": {"cat": 2, "dog": 2}}
    assert found.problems == {}
    assert found.warnings == []


def test_problems(yolo_set: YoloSet) -> None:
    images, labels = yolo_set.root / "images", yolo_set.root / "labels"
    (images / "train/b.jpg").write_bytes(b"broken")
    (labels / "train/c.txt").unlink()
    yolo_set.label("train/a", "1 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n0 0.9 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n")
    yolo_set.label("val/lost", "0 0.5 0.5 0.5 0.5\n")
    shutil.copy(images / "train/a.jpg", images / "val/d.jpg")
    found = inspect(resolve(yolo_set.config))
    assert found.problems == {
        "unreadable images, left out": 1,
        "degenerate boxes, dropped": 1,
        "boxes reaching beyond their image, kept": 1,
        "label files with duplicate rows": 1,
        "labels without image": 1,
        "images without label, taken as background": 1,
        "images of train that are also in val or test": 1,
    }
    starts = [
        "images/train/b.jpg: not an image",
        "labels/train/a.txt:2: zero area",
        "labels/train/a.txt:3: box reaches",
        "labels/train/a.txt:4: 1 duplicate rows",
        "images/train/c.jpg: no label file",
        "images/train/a.jpg: image of train that is also in val, as",
        "labels/val/lost.txt: label without image",
    ]
    for line, start in zip(found.warnings, starts, strict=True):
        assert line.startswith(f"{yolo_set.root}/{start}")


def test_training_sees_what_the_inspection_counted(yolo_set: YoloSet) -> None:
    (yolo_set.root / "images/train/b.jpg").write_bytes(b"broken")
    for split, stem in (("train", "a"), ("val", "d")):
        yolo_set.label(f"{split}/{stem}", "1 0.5 0.5 0.5 0.5\n0 0.787500 0.702083 0.000000 0.000000\n")
    dataset = resolve(yolo_set.config)
    found = inspect(dataset)
    for split in ("train", "val"):
        samples = read_split(dataset, split)
        assert len(samples) == found.images[split]
        assert sum(len(sample.boxes) for sample in samples) == found.boxes[split]
        assert all((sample.boxes[:, 3:] > 0).all() for sample in samples)
    assert [sample.image.stem for sample in read_split(dataset, "train")] == ["a", "c"]
    assert found.problems["degenerate boxes, dropped"] == 2


def test_fingerprint_is_that_of_a_copy(yolo_set: YoloSet, tmp_path: Path) -> None:
    shutil.copytree(yolo_set.root, tmp_path / "else" / "where")
    copy = YoloSet.__new__(YoloSet)
    copy.root = tmp_path / "else" / "where"
    assert fingerprint(copy) == fingerprint(yolo_set)


@pytest.mark.parametrize("change", ["class", "box", "gone", "pixels", "renamed", "names", "split"])
def test_fingerprint_changes_with_the_content(change: str, yolo_set: YoloSet) -> None:
    before = fingerprint(yolo_set)
    image = yolo_set.root / "images/val/e.jpg"
    if change == "class":
        yolo_set.label("val/e", "0 0.5 0.5 0.25 0.5\n0 0.25 0.25 0.125 0.25\n")
    elif change == "box":
        yolo_set.label("val/e", "0 0.5 0.5 0.25 0.5\n1 0.25 0.26 0.125 0.25\n")
    elif change == "gone":
        yolo_set.label("val/e", "0 0.5 0.5 0.25 0.5\n")
    elif change == "pixels":
        write_image(image, 77)
    elif change == "renamed":
        image.rename(image.with_name("f.jpg"))
        (yolo_set.root / "labels/val/e.txt").rename(yolo_set.root / "labels/val/f.txt")
    elif change == "names":
        yolo_set.write_yaml("train: images/train\nval: images/val\nnames: [dog, cat]\n")
    else:
        yolo_set.write_yaml("train: [images/train, images/val/e.jpg]\nval: images/val\nnames: [cat, dog]\n")
    assert fingerprint(yolo_set) != before


def test_cached_split_is_not_read_again(yolo_set: YoloSet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inspect(resolve(yolo_set.config))
    monkeypatch.setattr("acmix_exp.data.scan._read", lambda *_: pytest.fail("read again"))
    assert inspect(resolve(yolo_set.config)) == first


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not really"], ids=["empty", "torn"])
def test_damaged_cache_is_replaced(damage: bytes, yolo_set: YoloSet, cache_home: Path) -> None:
    first = inspect(resolve(yolo_set.config))
    for file in (cache_home / "scans").iterdir():
        file.write_bytes(damage)
    assert inspect(resolve(yolo_set.config)) == first


def test_cache_that_cannot_be_written_is_no_error(yolo_set: YoloSet, cache_home: Path) -> None:
    cache_home.parent.mkdir(parents=True, exist_ok=True)
    cache_home.write_text("in the way")
    assert inspect(resolve(yolo_set.config)).images == {"train": 3, "val": 2}


def test_cache_has_one_file_per_split(yolo_set: YoloSet, cache_home: Path) -> None:
    for text in ("0 0.5 0.5 0.5 0.5\n", "1 0.5 0.5 0.5 0.25\n"):
        yolo_set.label("train/a", text)
        dataset = resolve(yolo_set.config)
        assert read_split(dataset, "train")[0].boxes[0, 0] == float(text[0])
    assert len(list((cache_home / "scans").iterdir())) == 1
    assert scan.cache_file(dataset, "train").exists()


def printed(found: Inspection, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(report_table(found))
    return console.file.getvalue()


def test_table_shows_classes_splits_and_problems(yolo_set: YoloSet) -> None:
    yolo_set.label("train/a", "0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n")
    text = printed(inspect(resolve(yolo_set.config)))
    for part in ("cats", "train", "val", "cat", "dog", "images", "1 degenerate boxes", "labels/train/a.txt:2: zero"):
        assert part in text


def test_table_of_many_classes_fits_a_screen() -> None:
    random = np.random.default_rng(0)
    names = [f"class [{index}]" for index in range(80)]
    counts = {split: {name: int(random.integers(0, 9999)) for name in names} for split in ("train", "val", "test")}
    found = Inspection(
        name="many",
        source=Path("/somewhere/far/away/data.yaml"),
        images=dict.fromkeys(counts, 1000),
        boxes={split: sum(by_class.values()) for split, by_class in counts.items()},
        counts=counts,
        problems={"degenerate boxes, dropped": 50},
        warnings=[f"/somewhere/far/away/labels/{index}.txt:1: zero area" for index in range(50)],
        fingerprint="0" * 64,
    )
    lines = printed(found).splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert any("73 others (" in line for line in lines)
    assert any("and 46 more" in line for line in lines)
