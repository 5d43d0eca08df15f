"""Images that are in more than one split; how a split was made; which checkpoint is scored on which split."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from acmix_exp.config import DatasetConfig
from acmix_exp.data import Headline, Inspection, headline, inspect, report_table, resolve
from tests.data.builders import VocSet, YoloSet, write_image
from tests.robustness.cases import case

SECTION = "Splits"
LAST = "so the headline is last.pt on val"
BOX = "0 0.5 0.5 0.25 0.5\n"


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "no-settings"))


@pytest.fixture
def tested(tmp_path: Path) -> YoloSet:
    """Two images in val and two others in test."""
    tested = YoloSet(tmp_path / "cats")
    for index, stem in enumerate("fg"):
        write_image(tested.root / f"images/test/{stem}.jpg", 20 + index)
        tested.label(f"test/{stem}", BOX)
    tested.write_yaml("train: images/train\nval: images/val\ntest: images/test\nnames: [cat, dog]\n")
    return tested


def table(found: Inspection, width: int = 200, **options: str) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(report_table(found, **options), soft_wrap=True)
    return console.file.getvalue()


@case(SECTION, have="a test split of its own", here="the headline is best.pt on test, and the data table says so")
def test_test_split(tested: YoloSet) -> None:
    assert headline(resolve(tested.config)) == Headline("test", "best.pt")
    text = table(inspect(resolve(tested.config)))
    assert "split: train images/train; val images/val; test images/test; the headline is best.pt on test" in text


@case(
    SECTION,
    have="`test:` is the folder, the list or the images of `val:`, also under other names",
    here="the headline is last.pt on val, as without a test split; the data table and the report say so",
    reported="mmdetection #6941, yolov5 #8415",
)
@pytest.mark.parametrize("form", ["folder", "list", "copies", "links"])
def test_test_is_val(form: str, tested: YoloSet) -> None:
    before = inspect(resolve(tested.config)).fingerprint
    test = tested.root / "images/test"
    if form in ("folder", "list"):
        (tested.root / "val.txt").write_text("images/val/e.jpg\nimages/val/d.jpg\n")
        entry = "images/val" if form == "folder" else "val.txt"
        tested.write_yaml(f"train: images/train\nval: images/val\ntest: {entry}\nnames: [cat, dog]\n")
    else:
        for old, new in (("d", "f"), ("e", "g")):
            (test / f"{new}.jpg").unlink()
            (os.symlink if form == "links" else shutil.copy)(tested.root / f"images/val/{old}.jpg", test / f"{new}.jpg")
    assert headline(resolve(tested.config)) == Headline("val", "last.pt", "test has the same 2 images as val")
    found = inspect(resolve(tested.config))
    assert f"test has the same 2 images as val, {LAST}" in table(found)
    assert found.problems == {"images of test that are also in val": 2}
    assert found.fingerprint != before


@case(
    SECTION,
    have="a part of test is val's too, or test is a part of val",
    here="the shared images are counted and named; the headline is last.pt on val",
    reported="yolov5 #2388",
)
@pytest.mark.parametrize("part", ["one-shared", "test-in-val", "val-in-test"])
def test_test_shares_images_with_val(part: str, tested: YoloSet) -> None:
    val, test = tested.root / "images/val", tested.root / "images/test"
    shutil.copy(val / "d.jpg", test / "f.jpg")
    if part == "test-in-val":
        (test / "g.jpg").unlink()
    if part == "val-in-test":
        shutil.copy(val / "e.jpg", test / "h.jpg")
        tested.label("test/h", BOX)
    found = inspect(resolve(tested.config))
    shared, size = {"one-shared": (1, 2), "test-in-val": (1, 1), "val-in-test": (2, 3)}[part]
    text = table(found)
    assert f"{shared} of the {size} images of test are also in val, {LAST}" in text
    assert f"{shared} images of test that are also in val" in text
    assert "images/test/f.jpg: image of test that is also in val, as" in text


@case(SECTION, have="images of train that are also in val or test", here="counted and named")
@pytest.mark.parametrize("form", ["val-is-train", "val-in-train", "copy"])
def test_train_shares_images(form: str, tested: YoloSet) -> None:
    if form == "copy":
        shutil.copy(tested.root / "images/test/f.jpg", tested.root / "images/train/a.jpg")
    else:
        train = "images/train" if form == "val-is-train" else "[images/train, images/val]"
        val = "images/train" if form == "val-is-train" else "images/val"
        tested.write_yaml(f"train: {train}\nval: {val}\ntest: images/test\nnames: [cat, dog]\n")
    found = inspect(resolve(tested.config))
    number = {"val-is-train": 3, "val-in-train": 2, "copy": 1}[form]
    assert found.problems == {"images of train that are also in val or test": number}
    assert len([line for line in found.warnings if "image of train that is also in" in line]) == number
    assert found.headline == Headline("test", "best.pt")


@case(SECTION, have="no test split", here="the headline is last.pt on val, and the data table says so")
def test_no_test_split(tmp_path: Path) -> None:
    found = inspect(resolve(YoloSet(tmp_path / "cats").config))
    assert f"split: train images/train; val images/val; no test split, {LAST}" in table(found)


@case(SECTION, have="splits as lists", here="the data table names the lists")
def test_lists(tmp_path: Path) -> None:
    cats = YoloSet(tmp_path / "cats")
    (cats.root / "train.txt").write_text("images/train/a.jpg\nimages/train/b.jpg\n")
    cats.write_yaml("train: train.txt\nval: images/val\nnames: [cat, dog]\n")
    assert "split: train train.txt; val images/val;" in table(inspect(resolve(cats.config)))


@case(SECTION, have="a data set without a split", here="a seeded split, with its sizes in the data table")
def test_seeded_split(tmp_path: Path) -> None:
    dataset = replace(resolve(VocSet(tmp_path / "cells").config), split_made="seeded split 80/20, seed 0")
    assert f"seeded split 80/20, seed 0, 8 train, 2 val; no test split, {LAST}" in table(inspect(dataset))


@case(
    SECTION, have="`dataset=voc`: ultralytics' VOC.yaml, whose test is its val", here="the headline is last.pt on val"
)
def test_voc_of_ultralytics(tmp_path: Path) -> None:
    names = ("train2012", "train2007", "val2012", "val2007", "test2007")
    for index, name in enumerate(names):
        write_image(tmp_path / f"VOC/images/{name}/i{index}.jpg", index)
        label = tmp_path / f"VOC/labels/{name}/i{index}.txt"
        label.parent.mkdir(parents=True)
        label.write_text(BOX)
    found = inspect(resolve(DatasetConfig(name="voc", root=str(tmp_path))))
    assert found.headline == Headline("val", "last.pt", "test has the same 1 images as val")


def test_a_plan_lists_every_class(tested: YoloSet) -> None:
    names = ", ".join(f"class{index}" for index in range(40))
    tested.write_yaml(f"train: images/train\nval: images/val\ntest: images/test\nnames: [{names}]\n")
    found = inspect(resolve(tested.config))
    assert "class39" not in table(found)
    rows = [line.split() for line in table(found, detail="plan").splitlines()]
    assert [row[1:] for row in rows if row and row[0] == "images"] == [["3", "2", "2"]]
    assert {row[0] for row in rows if row} >= {f"class{index}" for index in range(40)}


@pytest.mark.slow
def test_a_run_whose_test_is_val(tested: YoloSet, tmp_path: Path) -> None:
    tested.write_yaml("train: images/train\nval: images/val\ntest: images/val\nnames: [cat, dog]\n")
    small = "train=quick train.epochs=1 train.imgsz=64 train.batch=4 hardware=cpu hardware.workers=0 logger=disabled"
    command = [
        sys.executable,
        "-m",
        "acmix_exp",
        "arm=baseline",
        "dataset=yolo",
        f"dataset.path={tested.root}/data.yaml",
    ]
    command += [*small.split(), "name=same", f"runs_dir={tmp_path / 'runs'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"})
    said = f"test has the same 2 images as val, {LAST}"
    assert said in done.stderr
    (result,) = (tmp_path / "runs/same").glob("baseline-*/result.json")
    metrics = json.loads(result.read_text())["metrics"]
    assert (metrics["split"], metrics["checkpoint"]) == ("val", "last.pt")
    summary = (tmp_path / "runs/same/summary.md").read_text()
    assert said in summary
    assert "last.pt on val (test has the same 2 images as val)" in summary
