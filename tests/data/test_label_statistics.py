"""Label statistics: counts, sizes and centres of the boxes, stored once for a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.data.label_statistics import BINS, GRID, OCTAVES, label_statistics, statistics_file, store
from acmix_exp.data.scan import Scan
from acmix_exp.report.figures.catalogue import draw
from acmix_exp.report.table import make_tables
from tests.report import conftest

folder, add = conftest.folder, conftest.add


def scan(rows: list[list[float]], counts: list[int], sizes: list[tuple[int, int]]) -> Scan:
    count = len(counts)
    return Scan(
        sizes=np.array(sizes, np.int32),
        labelled=np.ones(count, bool),
        digests=np.zeros((count, 32), np.uint8),
        counts=np.array(counts, np.int32),
        boxes=np.array(rows, np.float32).reshape(-1, 5),
        unlike_stock=np.zeros(count, bool),
        points=np.zeros(0, np.int32),
        forms=np.zeros((0, 2), np.float32),
    )


def test_boxes_are_counted_by_class_size_and_place() -> None:
    # A whole image of 100 x 200, and in the second one of 200 x 100 an eighth of the longer side, at the lower right.
    rows = [[0, 0.5, 0.5, 1, 1], [1, 0.999, 1.0, 0.25, 0.125]]
    found = label_statistics(
        {0: "a", 1: "b", 2: "c"}, {"train": scan(rows, [1, 1, 0], [(100, 200), (200, 100), (0, 0)])}
    )
    train = found["splits"]["train"]
    assert found["classes"] == ["a", "b", "c"]
    assert (train["images"], train["boxes"]) == (2, [1, 1, 0])
    sizes = np.flatnonzero(train["sizes"])
    edges = 2.0 ** (np.arange(BINS + 1) * OCTAVES / BINS - OCTAVES)
    for place, size in zip(sizes, (0.125, 0.5**0.5), strict=True):
        assert edges[place] <= size * 1.0001 < edges[place + 1] * 1.0002
    centres = np.array(train["centres"])
    assert centres[GRID // 2, GRID // 2] == centres[GRID - 1, GRID - 1] == 1
    assert centres.sum() == sum(train["sizes"]) == 2


def test_a_split_without_boxes_and_tiny_boxes() -> None:
    found = label_statistics(
        {0: "a"}, {"train": scan([[0, 0, 0, 1e-6, 1e-6]], [1], [(10, 10)]), "val": scan([], [0], [(9, 9)])}
    )
    assert found["splits"]["train"]["sizes"][0] == 1
    assert sum(found["splits"]["val"]["sizes"]) == 0


def test_a_stored_file_stays(tmp_path: Path) -> None:
    store(tmp_path, "a" * 64, {"version": 1})
    store(tmp_path, "a" * 64, {"version": 2})
    (path,) = tmp_path.iterdir()
    assert path == statistics_file(tmp_path, "a" * 64)
    assert json.loads(path.read_text()) == {"version": 1}


@pytest.mark.parametrize("classes", [2, 30])
def test_the_figure(folder: Path, add, classes: int) -> None:
    add("baseline", 0, 0.3, data="f" * 64)
    rows = [[label, 0.5, 0.5, 0.1, 0.2] for label in range(classes) for _ in range(label + 1)]
    split = scan(rows, [len(rows)], [(100, 100)])
    store(folder, "f" * 64, label_statistics(dict(enumerate(map(str, range(classes)))), {"train": split, "val": split}))
    (drawing,) = draw("labels", make_tables(folder)[0])
    assert drawing.results == f"train: 1 images, {len(rows)} boxes. val: 1 images, {len(rows)} boxes."
    assert ("Of 30 classes the 20 with the most boxes in train." in drawing.caption) == (classes == 30)


def test_a_file_of_another_version_is_not_drawn(folder: Path, add) -> None:
    add("baseline", 0, 0.3, data="f" * 64)
    store(folder, "f" * 64, {"version": 99})
    assert draw("labels", make_tables(folder)[0]) == []
