"""YOLO data sets as people have them: used as they are meant, or named with file and line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import inspect, read_split, resolve
from acmix_exp.errors import ConfigError
from tests.data.builders import YoloSet, tree_state, write_image
from tests.robustness.cases import Row, add, case
from tests.robustness.yolo_cases import REFUSED, USED, Change, in_parent, write_file, yaml

SECTION = "YOLO labels and lists"


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.chdir(tmp_path)


for have, here, _, _ in USED:
    reported = {"label files beside the images, in a folder called images": "ultralytics #21224"}
    reported["an images folder that is a link, with the labels beside the link"] = "ultralytics #5036"
    add(Row(SECTION, have, here, reported.get(have, "")))
for have, _, _ in REFUSED:
    add(Row(SECTION, have, "refused, with file and line where there is one"))


@pytest.fixture
def plain(tmp_path: Path) -> YoloSet:
    return YoloSet(tmp_path / "cats")


@pytest.mark.parametrize(("have", "change", "said"), [(case[0], case[2], case[3]) for case in USED])
def test_used(have: str, change: Change, said: str, plain: YoloSet) -> None:
    change(plain)
    before = tree_state(plain.root)
    dataset = resolve(plain.config)
    found = inspect(dataset)
    lines = "\n".join(found.warnings)
    assert [len(sample.boxes) for sample in read_split(dataset, "train")] == [2, 2, 2]
    assert "images without label, taken as background" not in found.problems
    if said:
        assert said in lines
    else:
        assert found.problems == {}
    assert tree_state(plain.root) == before


@pytest.mark.parametrize(("have", "change", "said"), REFUSED)
def test_refused(have: str, change: Change, said: str, plain: YoloSet) -> None:
    change(plain)
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(plain.config))
    message = str(caught.value)
    assert message.startswith(f"dataset.path={plain.root}/data.yaml: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("[yes, no]", ["yes", "no"]),
        ("[010, 0x1f]", ["010", "0x1f"]),
        ("[~, null]", ["~", "null"]),
        ("[1.10, 1.1]", ["1.10", "1.1"]),
        ("{1: off, 0: on}", ["on", "off"]),
        ("['a b', \"c: d\"]", ["a b", "c: d"]),
    ],
)
def test_names_are_the_text_that_was_written(names: str, kept: list[str], plain: YoloSet) -> None:
    yaml(names=names)(plain)
    assert list(resolve(plain.config).names.values()) == kept


@case(
    SECTION,
    have="é in the names of images and of labels encoded in two ways, as after a copy from a Mac",
    here="used, and named",
)
def test_accents_encoded_in_two_ways(plain: YoloSet) -> None:
    (plain.root / "images/train/b.jpg").rename(plain.root / "images/train/e\u0301.jpg")
    (plain.root / "labels/train/b.txt").rename(plain.root / "labels/train/\u00e9.txt")
    found = inspect(resolve(plain.config))
    assert found.boxes["train"] == 6
    assert list(found.problems) == ["label files where ultralytics does not look, used"]


@case(SECTION, have="an image without label file", here="background, named with the place where its labels would be")
def test_background_is_named(plain: YoloSet) -> None:
    (plain.root / "labels/train/b.txt").unlink()
    (line,) = inspect(resolve(plain.config)).warnings
    assert line.startswith(f"{plain.root}/images/train/b.jpg: no label file")
    assert f"{plain.root}/labels/train/b.txt" in line


@case(SECTION, have="an image whose annotation is VOC XML or labelme JSON", here="background, named with that file")
@pytest.mark.parametrize("name", ["images/train/b.json", "labels/train/b.xml"])
def test_annotation_of_another_format(name: str, plain: YoloSet) -> None:
    (plain.root / "labels/train/b.txt").unlink()
    write_file(plain.root / name, "{}")
    (line,) = inspect(resolve(plain.config)).warnings
    assert f"{Path(name).name} is not in YOLO's format" in line


@case(SECTION, have="a.jpg and a.png with one label file", here="both get its boxes, and they are named")
def test_a_label_file_of_two_images(plain: YoloSet) -> None:
    write_image(plain.root / "images/train/a.png", 9)
    found = inspect(resolve(plain.config))
    assert found.warnings == [f"{plain.root}/labels/train/a.txt: the label file of a.jpg, a.png"]


@case(
    SECTION,
    have="Roboflow's `../images/train` where the folder above holds another set",
    here="that set is read, as ultralytics does; the table says which folder was read and which other one exists",
)
def test_the_folder_that_was_read_is_said(plain: YoloSet) -> None:
    in_parent(plain)
    found = inspect(resolve(plain.config))
    parent = plain.root.parent
    assert found.images["train"] == 1
    assert f"train {parent}/images/train" in found.split
    assert f"{parent}/images/train, not {plain.root}/images/train, which exists too" in found.warnings[0]


@case(SECTION, have="only COCO JSON, no label files", here="refused; the line names ultralytics' converter")
def test_coco_json_only(plain: YoloSet) -> None:
    shutil.rmtree(plain.root / "labels")
    write_file(plain.root / "images/train/_annotations.coco.json", '{"images": []}')
    write_file(plain.root / "images/train/other.json", "{}")
    with pytest.raises(ConfigError, match=r"_annotations\.coco\.json is COCO JSON: convert it .*convert_coco"):
        inspect(resolve(plain.config))


@case(
    SECTION,
    have="`dataset.path=` of a .zip, a COCO .json, an .xml, a .pt, a folder without data.yaml",
    here="refused; the line says what it is and what would be right",
)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("set.zip", "an archive: unpack it"),
        ("instances.json", "COCO JSON: convert it"),
        ("set.ndjson", "NDJSON"),
        ("a.xml", "dataset=voc_xml"),
        ("yolov8n.pt", "model.pretrained"),
        ("folder", "must be a data.yaml"),
    ],
)
def test_other_files(name: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"PK\3\4")
    with pytest.raises(ConfigError, match=said):
        resolve(DatasetConfig(name="yolo", path=str(path)))


@case(SECTION, have="a sub-folder that cannot be listed", here="refused, with its name")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_folder_that_cannot_be_listed(plain: YoloSet) -> None:
    folder = plain.root / "images/train/more"
    folder.mkdir(mode=0)
    with pytest.raises(ConfigError, match="more: Permission denied"):
        resolve(plain.config)


TRAINED = (
    "label files beside the images, in a folder called images",
    "an images folder that is a link, with the labels beside the link",
    "label files called .TXT",
    "folders train/img and train/label",
    "lines of a list that are there twice",
)


@pytest.mark.slow
def test_what_the_scan_accepts_is_trained_on(tmp_path: Path) -> None:
    """The first training batches of each odd set are those of the ordinary one, boxes included."""
    changes = {have: change for have, _, change, _ in USED}
    proofs = {}
    for number, have in enumerate(("", *TRAINED)):
        odd = YoloSet(tmp_path / str(number) / "cats")
        changes.get(have, lambda _: None)(odd)
        proofs[have] = trained(odd, tmp_path / "runs", f"odd{number}")["seed_proof"]
    assert len(set(proofs.values())) == 1, proofs


def trained(odd: YoloSet, runs: Path, name: str) -> dict:
    """provenance.json of an epoch of training by the command line."""
    small = "train=quick train.epochs=1 train.imgsz=64 train.batch=4 hardware=cpu hardware.workers=0 logger=disabled"
    command = [sys.executable, "-m", "acmix_exp", "arm=baseline", "dataset=yolo", f"dataset.path={odd.root}/data.yaml"]
    command += [*small.split(), "report.auto=false", f"name={name}", f"runs_dir={runs}"]
    subprocess.run(command, capture_output=True, check=True)
    (provenance,) = (runs / name).glob("baseline-*/provenance.json")
    return json.loads(provenance.read_text())
