"""Polygons, keypoints and corners in label files: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import inspect, read_split, resolve, shapes
from acmix_exp.data.yolo_layout import read_data_yaml
from acmix_exp.errors import ConfigError
from tests.data.builders import YoloSet

POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.6 0.3 0.8\n"
CORNERS = "1 0.1 0.1 0.5 0.2 0.4 0.6 0.05 0.5\n"
POSE = "0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 1\n"
KEYS = {"pose": "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"}
ROWS = {"segment": POLYGON, "pose": POSE, "obb": CORNERS}


@pytest.fixture
def made(tmp_path: Path) -> YoloSet:
    return YoloSet(tmp_path)


def fill(made: YoloSet, row: str, keys: str = "") -> None:
    for stem in ("train/a", "train/b", "train/c", "val/d", "val/e"):
        made.label(stem, row)
    made.write_yaml(f"train: images/train\nval: images/val\n{keys}names: [cat, dog]\n")


@pytest.mark.parametrize("task", ROWS)
def test_forms_are_read_and_cached(made: YoloSet, task: str) -> None:
    fill(made, 2 * ROWS[task], KEYS.get(task, ""))  # a duplicate row
    for _ in range(2):
        first = read_split(resolve(made.config, task), "train")[0]
        assert len(first.boxes) == len(first.forms) == 1
        values = np.array(ROWS[task].split()[1:], np.float32)
        expected = values[4:].reshape(-1, 3) if task == "pose" else values.reshape(-1, 2)
        np.testing.assert_array_equal(first.forms[0], expected)
    x0, y0 = first.forms[0][:, :2].min(0)
    if task != "pose":
        np.testing.assert_allclose(first.boxes[0, 1:3] - first.boxes[0, 3:] / 2, [x0, y0], atol=1e-6)


REFUSED = {
    "boxes for segment": (
        "segment",
        "0 0.5 0.5 0.2 0.2\n",
        "",
        "a box; model.task=segment needs polygons (class x1 y1",
    ),
    "boxes for obb": ("obb", "0 0.5 0.5 0.2 0.2\n", "", "a box; model.task=obb needs four corners (class x1 y1 x2 y2"),
    "boxes with an angle": ("obb", "0 0.5 0.5 0.2 0.2 0.3\n", "", "6 columns, as boxes with an angle"),
    "polygons for obb": ("obb", "0 0 0 1 0 1 1 0.5 1.0 0 1\n", "", "11 columns; model.task=obb needs four corners"),
    "odd polygon": ("segment", "0 0.1 0.1 0.5 0.1 0.5 0.6 0.3\n", "", "8 columns; model.task=segment needs polygons"),
    "no kpt_shape": ("pose", POSE, "", "no key kpt_shape, which model.task=pose needs; must be [keypoints, 2 or 3"),
    "odd kpt_shape": ("pose", POSE, "kpt_shape: [2, 4]\n", "kpt_shape is [2, 4]; must be [keypoints, 2 or 3 values"),
    "boxes for pose": ("pose", "0 0.5 0.5 0.2 0.2\n", KEYS["pose"], "a box without keypoints; model.task=pose with"),
    "too few keypoints": (
        "pose",
        POSE.removesuffix("0.6 0.6 1\n") + "\n",
        KEYS["pose"],
        "8 columns; model.task=pose with kpt_shape [2, 3] needs 11",
    ),
    "visibility": ("pose", POSE.replace(" 2 ", " 3 "), KEYS["pose"], "visibility 3 of a keypoint; must be 0"),
    "flip_idx": ("pose", POSE, "kpt_shape: [2, 3]\nflip_idx: [0, 0]\n", "flip_idx is [0, 0]; must be a list of 0 to 1"),
    "flip_idx that turns": (
        "pose",
        POSE,
        "kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n",
        "flip_idx is [1, 2, 0]: keypoint 0 is 1 in a mirrored image, and 1 is 2; mirrored twice, an image must be as",
    ),
    "kpt_names": (
        "pose",
        POSE,
        KEYS["pose"] + "kpt_names: {0: [nose, tail], 1: [nose]}\n",
        "kpt_names has 1 for class 1; must have a list of 2 names for each class, 0 to 1, or be left out",
    ),
    "not a number": (
        "segment",
        POLYGON.replace("0.5", "nan"),
        "",
        "'nan' is not a number; a row must be class x1 y1 x2",
    ),
    "columns of confidence": (
        "obb",
        CORNERS.replace("\n", " 0.9\n"),
        "",
        "10 columns; model.task=obb needs four corners",
    ),
    "boxes beside polygons": (
        "segment",
        POLYGON + "1 0.5 0.5 0.2 0.2\n",
        "",
        "a.txt:2: a box; model.task=segment needs",
    ),
    "sigmas": ("pose", POSE, KEYS["pose"] + "kpt_oks_sigmas: [0.1]\n", "kpt_oks_sigmas is [0.1]; must be 2 numbers"),
    "keypoints for segment": (
        "segment",
        POSE,
        KEYS["pose"],
        "has kpt_shape, so its labels are keypoints; model.task=seg",
    ),
    "a class without name": ("segment", POLYGON.replace("0", "7", 1), "", "class 7 has no name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(made: YoloSet, name: str) -> None:
    task, row, keys, expected = REFUSED[name]
    fill(made, row, keys)
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(made.config, task))
    (line,) = caught.value.lines
    assert expected in line
    assert str(made.root) in line


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        ("segment", "0 0.1 0.1 0.3 0.3 0.5 0.5\n", "zero area, its points are on a line, box dropped"),
        ("segment", "0 0.1 0.1 0.1 0.3 0.1 0.5\n", "zero area, size 0 x 0.4, box dropped"),
        (
            "pose",
            POSE.replace("0.4 2 0", "0.4 0 1"),
            "keypoints out of range, 1.6 0.6 is not within 0 to 1, box dropped",
        ),
    ],
)
def test_degenerate_objects_are_dropped(made: YoloSet, task: str, row: str, expected: str) -> None:
    fill(made, ROWS[task] + row, KEYS.get(task, ""))
    found = inspect(resolve(made.config, task))
    assert found.problems["degenerate boxes, dropped"] == 5
    assert expected in "\n".join(found.warnings)
    assert len(read_split(resolve(made.config, task), "val")[0].forms) == 1


def test_keypoints_without_flip_idx_are_remarked(made: YoloSet) -> None:
    fill(made, "0 0.5 0.5 0.4 0.4 0.4 0.4 0.6 0.6\n", "kpt_shape: [2, 2]\n")
    assert "no flip_idx: no image is mirrored" in "\n".join(inspect(resolve(made.config, "pose")).warnings)
    np.testing.assert_array_equal(read_split(resolve(made.config, "pose"), "val")[0].forms[0][:, 2], [1, 1])


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_corners_in_another_order_are_used(made: YoloSet, task: str) -> None:
    """Upper left, upper right, lower left, lower right: the outline crosses itself, and ultralytics uses it."""
    fill(made, "0 0.1 0.1 0.5 0.1 0.1 0.6 0.5 0.6\n")
    found = inspect(resolve(made.config, task))
    assert found.boxes == {"train": 3, "val": 2}
    assert "degenerate boxes, dropped" not in found.problems


def test_what_is_odd_about_keypoints_is_said(made: YoloSet) -> None:
    """One beyond the image is not labelled; what objects without any do, and x and y at 0 0, is said."""
    three = POSE.replace("0.6 0.6", "1.06 0.6") + "1 0.5 0.5 0.4 0.4 0 0 0 0 0 0\n"
    for text, shape, odd in (
        (three, 3, {"objects with keypoints beyond their image": 5, "objects without a labelled keypoint": 5}),
        (
            "0 0.5 0.5 0.4 0.4 0.4 0.4 0 0\n1 0.5 0.5 0.4 0.4 0.4 0.4 0.1 0\n",
            2,
            {"objects with a keypoint at 0 0, taken as labelled": 5},
        ),
    ):
        fill(made, text, f"kpt_shape: [2, {shape}]\nflip_idx: [0, 1]\n")
        for _ in range(2):  # the second time from the cache
            found = inspect(resolve(made.config, "pose"))
            assert found.problems == odd
    fill(made, three, KEYS["pose"])
    first, second = read_split(resolve(made.config, "pose"), "train")[0].forms
    assert first[:, 2].tolist() == [2, 0]
    assert second[:, 2].tolist() == [0, 0]
    lines = "\n".join(inspect(resolve(made.config, "pose")).warnings)
    assert "a.txt:1: keypoint 1.06 0.6 beyond the image, taken as not labelled" in lines
    assert "a.txt:2: no keypoint of it is labelled, so it counts as missed in pose mAP" in lines


@pytest.mark.parametrize(
    ("row", "keys", "said"),
    [
        (POLYGON, "", "polygons in 5 label files, used as the boxes around them; model.task=segment trains on"),
        (POSE, KEYS["pose"], "keypoints in 5 label files, of which the boxes are used; model.task=pose trains on"),
        (POLYGON + "1 0.5 0.5 0.2 0.2\n", "", "a.txt: rows of boxes and of polygons, all used; ultralytics leaves"),
    ],
)
def test_detection_says_what_it_does_not_use(made: YoloSet, row: str, keys: str, said: str) -> None:
    fill(made, row, keys)
    found = inspect(resolve(made.config))
    assert said in "\n".join(found.warnings)
    assert found.boxes == {"train": 3 * row.count("\n"), "val": 2 * row.count("\n")}


def test_names_of_keypoints_are_kept_and_change_nothing(made: YoloSet) -> None:
    fill(made, POSE, KEYS["pose"])
    plain = resolve(made.config, "pose")
    fill(made, POSE, KEYS["pose"] + "kpt_names: {0: [nose, tail], 1: [nose, tail]}\n")
    named = resolve(made.config, "pose")
    assert named.keypoints is not None
    assert named.keypoints.names == (("nose", "tail"), ("nose", "tail"))
    assert inspect(named).fingerprint == inspect(plain).fingerprint


def test_data_sets_of_boxes_are_refused() -> None:
    for name in ("coco8", "voc", "voc_xml"):
        with pytest.raises(ConfigError, match=f"dataset.name={name}: its labels are boxes, and model.task=pose needs"):
            resolve(DatasetConfig(name=name, path="x" if name == "voc_xml" else None), "pose")


def test_detection_reads_them_as_before(made: YoloSet) -> None:
    """Boxes around polygons, and pose rows without their keypoints, with one fingerprint whatever the task once was."""
    fill(made, POLYGON)
    assert read_split(resolve(made.config), "train")[0].forms == ()
    prints = [inspect(resolve(made.config, task)).fingerprint for task in (None, "detect", "segment")]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("task", ROWS)
def test_the_embedded_set_serves_every_task(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "COUNTS", {"train": 8, "val": 6})
    found = inspect(read_data_yaml(shapes.make_shapes(tmp_path, task), task=task))
    boxes = inspect(read_data_yaml(shapes.make_shapes(tmp_path)))
    assert (found.images, found.boxes, found.counts) == (boxes.images, boxes.boxes, boxes.counts)
    assert not found.problems
    assert found.fingerprint != boxes.fingerprint
    dataset, plain = (read_data_yaml(shapes.make_shapes(tmp_path, each), task=each) for each in (task, "detect"))
    for one, other in zip(read_split(dataset, "train"), read_split(plain, "train"), strict=True):
        assert one.image.read_bytes() == other.image.read_bytes()
        assert len(one.forms) == len(one.boxes)
        if task != "obb":
            np.testing.assert_allclose(one.boxes, other.boxes, atol=0.03)
