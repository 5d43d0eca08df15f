"""Odd input of classifiers: folders of classes that are incomplete, and data, weights and settings of detection."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acmix_exp.config import Config, DatasetConfig
from acmix_exp.data import inspect, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import CLASSIFY
from acmix_exp.sweep.check import faults
from tests.data.builders import make_class_folders
from tests.robustness.cases import Row, add, case

LABELS, TRAINED = "YOLO labels and lists", "What is trained"
RIGHT = "must be a folder with train/CLASS/IMAGE and val/CLASS/IMAGE"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_class_folders(tmp_path / "pets")


def other_classes(folder: Path) -> None:
    (folder / "val/dog").rename(folder / "val/wolf")


def unreadable(folder: Path) -> None:
    for image in (folder / "val/dog").iterdir():
        image.write_bytes(b"")


def without_folders(folder: Path) -> None:
    for image in sorted((folder / "val").rglob("*.png")):
        image.rename(folder / "val" / f"{image.parent.name}.png")
        image.parent.rmdir()


def without_splits(folder: Path) -> None:
    (folder / "train/cat").rename(folder / "cat")
    shutil.rmtree(folder / "train")
    shutil.rmtree(folder / "val")


def of_boxes(folder: Path) -> None:
    (folder / "train/cat").rename(folder / "train/images")
    (folder / "train/dog").rename(folder / "train/labels")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "class folders without val": (lambda folder: shutil.rmtree(folder / "val"), f"has no folder val; {RIGHT}"),
    "an empty class folder": (
        lambda folder: (folder / "train/cow").mkdir() or (folder / "val/cow").mkdir(),
        "no images in {folder}/train/cow; must have one at least, or be removed",
    ),
    "class folders that train and val do not share": (
        other_classes,
        "val has wolf, which train does not have and val does not have dog, which train has; must have the same",
    ),
    "a single class folder": (
        lambda folder: [shutil.rmtree(folder / split / "dog") for split in ("train", "val")],
        "has one class, cat; must have at least two, each a folder in train",
    ),
    "a class folder none of whose images can be read": (
        unreadable,
        "no image of {folder}/val/dog can be read: {folder}/val/dog/a.png: ",
    ),
    "images of a split without class folders": (without_folders, f"no class folders in {{folder}}/val; {RIGHT}"),
    "class folders without train and val": (
        without_splits,
        "has class folders (cat) and no splits, ultralytics.data.split.split_classify_data",
    ),
    "images and labels where classify needs class folders": (
        of_boxes,
        "{folder}/train has images and labels, as a data set of boxes has",
    ),
    "the folder of a data.yaml where classify needs class folders": (
        lambda folder: shutil.rmtree(folder / "train") or (folder / "data.yaml").write_text("names: [a]"),
        f"has no folder train, but data.yaml, as a data set of boxes has; {RIGHT}",
    ),
}


for _have in REFUSED:
    add(Row(LABELS, _have, "refused before the first run, in one line that says what would be right"))


@pytest.mark.parametrize("have", REFUSED)
def test_odd_folders(folder: Path, have: str) -> None:
    damage, said = REFUSED[have]
    damage(folder)
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(DatasetConfig(name="yolo", path=str(folder)), CLASSIFY))
    (line,) = caught.value.lines
    assert line.startswith(f"dataset.path={folder}: {said.format(folder=folder)}")


@case(TRAINED, have="model.task=classify with the neck, mosaic or RT-DETR", here="refused; names what would fit")
def test_settings_of_detection(make_config: Callable[..., Config]) -> None:
    lines = [
        ("model/placement=neck", "model.placement.sites=neck: yolov8n-cls has no such site; must be one of"),
        ("+train.extra.mosaic=1", "train.extra.mosaic=1: the training of a classifier does not use it; leave it out"),
        ("model=rtdetr", "model.task=classify: ultralytics has no rtdetr-l for it; use model=yolov8 or yolo11 or"),
    ]
    up = "model/placement=up block=dysample arm=configured"
    lines.append(
        (up, "model.placement.sites=all: yolov8n-cls cannot take it: it has no upsampling; use a placement in")
    )
    for overrides, said in lines:
        found = faults(make_config("model.task=classify", *overrides.split()), ())
        assert any(line.startswith(said) for line in found), found


@pytest.mark.slow
@case(TRAINED, have="an ablation of classifiers", here="as of boxes; the headline is top-1, and mAP is empty")
def test_the_program_from_end_to_end(tmp_path: Path) -> None:
    """Three arms of two seeds: tables, the control for the harness, an evaluation, an export, a judgement, a repeat."""

    def run(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "acmix_exp", *arguments]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    train = ("train=quick", "train.epochs=1", "train.imgsz=64", "hardware=cpu", "logger=disabled")
    arms = ("+experiment=ablation", "arm=baseline,identity,mixed", "seed=0,1", "model.task=classify", "dataset=shapes")
    said = run(*arms, *train, "+train.extra.fraction=0.2", "name=classes")
    assert "yolov8n-cls" in said
    assert "precision_recall, f1_confidence, because a classifier has no detections" in said
    runs = tmp_path / "runs" / "classes"
    (table,) = json.loads((runs / "summary.json").read_text())["tables"]
    assert table["metric"] == "top-1"
    words = {row["arm"]: row["verdict"] for row in table["rows"]}
    assert words == {"baseline": "reference", "identity": "harness_ok", "mixed": "too_few_seeds"}
    assert [row["map50_95_mean"] for row in table["rows"]] == [None] * 3
    assert not any("DIFFERS" in note for note in table["notes"])
    folder = next(runs.glob("*mixed-s0-*"))
    assert (folder / "images" / "images.json").is_file()
    assert "top-1" in run("task=evaluate", f"run={folder}", "hardware.device=cpu", "split=train")
    assert "probabilities of the classes" in run("task=export", f"run={folder}", "format=torchscript")
    base = next(runs.glob("baseline-s0-*"))
    assert " top-1, 95 % interval over test images" in run("task=judge", f"a={folder}", f"b={base}", code=11)
    assert "the same, bit for bit" in run("task=repeat", f"run={base}")
    page = (runs / "report.html").read_text()
    assert "top-1" in page
    assert "mAP" not in re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)
