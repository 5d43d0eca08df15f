"""What the script of the page gets: curves, images, boxes by kind; and folders that lack them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acmix_exp.matching import claims
from acmix_exp.report import page_data as embedded
from acmix_exp.report.html import SCRIPTS, page, script
from acmix_exp.report.page_data import claimed_boxes, page_data
from acmix_exp.report.read_runs import read
from acmix_exp.report.table import make_tables
from tests.report import builders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builders.add_runs(tmp_path / "runs", ("baseline", "mixed"), seeds=2, epochs=3)
    return tmp_path / "runs"


def data(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page_data(make_tables(folder)))
    return found


def test_curves_are_those_of_the_histories(folder: Path) -> None:
    (table,) = data(folder)["tables"]
    assert [arm["label"] for arm in table["arms"]] == ["baseline", "mixed"]
    assert table["curves"]["metrics"] == {
        "map50_95": "mAP50-95 on val",
        "map50": "mAP50 on val",
        "train/box_loss": "train/box_loss",
    }
    for record in read(folder):
        run = table["curves"]["runs"][record.arm][str(record.seed)]
        assert run["epochs"] == [1, 2, 3]
        assert run["map50_95"] == [pytest.approx(float(row["map50_95"]), rel=1e-3) for row in record.history]


def test_images_are_stored_once_with_the_boxes_of_every_run(folder: Path) -> None:
    content = data(folder)
    images = content["tables"][0]["images"]
    assert len(content["photos"]) == len(images["images"]) == 4
    assert all(value.startswith("data:image/jpeg;base64,") for value in content["photos"].values())
    assert {seed: list(arms) for seed, arms in images["seeds"].items()} == {
        seed: ["baseline", "mixed"] for seed in ("0", "1")
    }
    record = next(record for record in read(folder) if (record.arm, record.seed) == ("mixed", 1))
    stored = json.loads((record.run.path / "images" / "images.json").read_text())["images"]
    for place, entry in enumerate(stored):
        image, found = images["images"][place], images["seeds"]["1"]["mixed"][place]
        assert image["name"] == entry["name"]
        assert [images["classes"][box[4]] for box in image["truth"]] == [box["class"] for box in entry["truth"]]
        assert [box[5] for box in found] == sorted(round(1000 * box["confidence"]) for box in entry["predictions"])[
            ::-1
        ]
        for *corners, label, _, claimed in found:
            assert claimed < 0 or image["truth"][claimed][4] == label
            assert corners == pytest.approx(image["truth"][claimed][:4], abs=400) or claimed < 0


def test_a_detection_claims_the_box_that_the_evaluation_gives_it() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        truth, found = (_random_boxes(random, count) for count in (12, 25))
        detection, target, iou = [], [], []
        for i, own in enumerate(found):
            for j, box in enumerate(truth):
                if own[4] == box[4] and (value := _iou(own, box)) >= 0.5:
                    detection.append(i), target.append(j), iou.append(value)
        expected = claims(
            *(np.array(detection, int), np.array(target, int), np.array(iou)),
            *(np.zeros(len(found), int), np.ones((len(truth), 1), bool), np.array([0.5])),
        )
        assert (claimed_boxes(found, truth) == expected[:, 0, 0]).all()
    assert claimed_boxes(np.zeros((0, 5)), truth).shape == (0,)
    assert list(claimed_boxes(found[:2], np.zeros((0, 5)))) == [-1, -1]


def _random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    corners = random.integers(0, 3, (count, 2)) * 20 + random.integers(0, 8, (count, 2))
    sides = random.integers(20, 30, (count, 2))
    return np.concatenate([corners, corners + sides, random.integers(0, 2, (count, 1))], axis=1).astype(float)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(width * height / (areas - width * height))


def change(folder: Path, text: str | None) -> None:
    for file in folder.glob("*/images/images.json"):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{torn", '{"images": []}', '{"images": [{}]}', '{"images": [{"truth": [{"box": [1]}]}]}']
)
def test_a_folder_without_readable_images_has_a_page_without_them(folder: Path, text: str | None) -> None:
    change(folder, text)
    tables = make_tables(folder)
    assert json.loads(page_data(tables))["tables"][0]["images"] is None
    written = page("runs", tables, read(folder), [], folder)
    assert 'id="images"' not in written
    assert 'id="curves"' in written


def test_pictures_that_are_missing_or_damaged_are_left_out(folder: Path) -> None:
    for file in folder.glob("*/images/1.jpg"):
        file.write_bytes(b"no picture")
    for file in folder.glob("*/images/2.jpg"):
        file.unlink()
    images = data(folder)["tables"][0]["images"]
    assert [image["name"] for image in images["images"]] == ["blood_0.jpg", "blood_3.jpg"]
    assert all(len(lists) == 2 for lists in images["seeds"]["0"].values())


def test_runs_without_history_have_no_curves(folder: Path) -> None:
    for file in folder.glob("*/history.csv"):
        file.unlink()
    tables = make_tables(folder)
    assert json.loads(page_data(tables))["tables"][0]["curves"] is None
    assert 'id="curves"' not in page("runs", tables, read(folder), [], folder)


def test_what_does_not_fit_is_left_out_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MOST_BYTES", 100)
    monkeypatch.setattr(embedded, "MOST_NUMBERS", 24)
    (table,) = data(folder)["tables"]
    assert list(table["images"]["seeds"]) == ["0"]
    assert table["images"]["left_out"] == "Left out for their size: seeds 1."
    assert table["curves"]["left_out"] == "Of 3 epochs 2 are drawn."
    assert table["curves"]["runs"]["mixed"]["0"]["epochs"] == [1, 3]


def test_no_name_closes_the_script(folder: Path) -> None:
    for file in folder.glob("*/images/images.json"):
        file.write_text(file.read_text().replace("blood_0.jpg", "</script><b>0.jpg"))
    text = page_data(make_tables(folder))
    assert "</" not in text
    assert json.loads(text)["tables"][0]["images"]["images"][0]["name"] == "</script><b>0.jpg"


def test_the_script_is_one_scope_of_all_its_files() -> None:
    text = script()
    assert "</" not in text
    assert "\r" not in text
    folder = Path(embedded.__file__).parent
    assert sorted(SCRIPTS) == sorted(path.name for path in folder.glob("page_*.js"))
    assert all((folder / name).read_text() in text for name in SCRIPTS)
