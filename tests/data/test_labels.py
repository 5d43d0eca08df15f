"""The label parser: rows that are read, boxes that are dropped, files that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.labels import LabelError, parse_labels

PATH = Path("labels/x.txt")
GOOD = "1 0.5 0.5 0.25 0.25"


def parse(text: str, pose_values: int = 0):
    dataset = Dataset("set", dict(enumerate("abc")), {}, PATH, pose_values=pose_values)
    return parse_labels(PATH, text, dataset)


def test_box_row() -> None:
    labels = parse(f"\n{GOOD}\r\n\n")
    assert labels.boxes.dtype == np.float32
    assert labels.boxes.tolist() == [[1, 0.5, 0.5, 0.25, 0.25]]
    assert labels.degenerate == labels.outside == []


def test_polygon_row_becomes_the_box_around_it() -> None:
    assert parse("2 0.25 0.5 0.75 0.25 0.5 0.75").boxes.tolist() == [[2, 0.5, 0.5, 0.5, 0.5]]


def test_pose_row_keeps_its_box() -> None:
    assert parse(f"{GOOD} 0.1 0.2 2 0.3 0.4 2", pose_values=6).boxes.tolist() == [[1, 0.5, 0.5, 0.25, 0.25]]


def test_duplicates_are_removed_and_counted() -> None:
    labels = parse(f"{GOOD}\n0 0.5 0.5 0.25 0.25\n{GOOD}\n1 0.50 0.5 0.25 0.25")
    assert labels.boxes[:, 0].tolist() == [1, 0]
    assert len(labels.duplicates) == 2


@pytest.mark.parametrize("text", ["", "\n \n"], ids=["empty", "blank"])
def test_empty_file_is_background(text: str) -> None:
    assert parse(text).boxes.shape == (0, 5)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("0 0.787500 0.702083 0.000000 0.000000", "zero area"),
        ("0 0.5 0.5 0.0 0.2", "zero area"),
        ("0 0.5 0.5 0.2 0", "zero area"),
        ("0 0.5 0.5 1e-60 0.2", "zero area"),
        ("0 0.5 0.5 -0.1 0.2", "negative size"),
        ("0 1.2 0.5 0.1 0.2", "out of range"),
        ("0 0.5 -0.2 0.1 0.2", "out of range"),
        ("0 0.5 0.5 1.5 0.2", "out of range"),
        ("0 320 240 50 50", "out of range"),
        ("0 0.2 0.2 0.2 0.2 0.2 0.2", "zero area"),
    ],
)
def test_degenerate_box_is_dropped_alone(row: str, what: str) -> None:
    labels = parse(f"{GOOD}\n{row}\n2 0.5 0.5 0.5 0.5\n")
    assert labels.boxes[:, 0].tolist() == [1, 2]
    (line,) = labels.degenerate
    assert line.startswith(f"{PATH}:2: {what}")


def test_rounding_is_tolerated_as_ultralytics_does() -> None:
    labels = parse("0 1.005 0.5 0.1 0.1\n0 0.5 0.5 1.000001 1")
    assert len(labels.boxes) == 2
    assert labels.degenerate == []


def test_box_reaching_beyond_the_image_is_kept_and_noted() -> None:
    labels = parse("0 0.95 0.5 0.3 0.1")
    assert len(labels.boxes) == 1
    assert labels.outside[0].startswith(f"{PATH}:1: ")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("3 0.5 0.5 0.1 0.1", "class 3 has no name; must be 0 to 2"),
        ("-1 0.5 0.5 0.1 0.1", "class -1 has no name"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5 is not an integer"),
        ("cat 0.5 0.5 0.1 0.1", "'cat' is not a number"),
        ("0 0.5 0.5 0,1 0.1", "'0,1' is not a number"),
        ("0 0.5 nan 0.1 0.1", "'nan' is not a number"),
        ("0 0.5 0.5 inf 0.1", "'inf' is not a number"),
        ("0 0.5 0.5 0.1", "4 columns"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 columns"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.8 0.7", "8 columns"),
        ("0", "1 columns"),
    ],
)
def test_unusable_row_is_refused_with_file_and_line(row: str, what: str) -> None:
    with pytest.raises(LabelError, match=r"; .*must be ") as caught:
        parse(f"{GOOD}\n{row}\n")
    assert str(caught.value).startswith(f"{PATH}:2: {what}")
