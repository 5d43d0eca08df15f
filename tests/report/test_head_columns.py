"""Columns of both heads, and the note that names the headline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.html import page
from acmix_exp.report.planned import Asked
from acmix_exp.report.sentences import DELTA, format_number
from acmix_exp.report.table import make_tables
from acmix_exp.report.write import write_summary
from tests.report.builders import summary


def with_heads(path: Path, head: str, **scores: float) -> None:
    result = json.loads((path / "result.json").read_text())
    result["metrics"] |= {"head": head, "heads": {name: {"map50_95": value} for name, value in scores.items()}}
    (path / "result.json").write_text(json.dumps(result))


def test_both_heads_are_columns_and_the_headline_is_named(folder: Path, add: Any) -> None:
    for seed in range(2):
        with_heads(add("baseline", seed, 0.3 + seed / 10), "nms", nms=0.3 + seed / 10, nms_free=0.2 + seed / 10)
    (table,) = summary(folder)
    (row,) = table["rows"]
    assert (round(row["nms_mean"], 3), round(row["nms_free_mean"], 3)) == (0.35, 0.25)
    assert any(note.startswith("The headline is of the head one-to-many, with NMS: all") for note in table["notes"])
    text = (folder / "summary.md").read_text(encoding="utf-8")
    assert "mAP50-95 (with NMS)" in text
    assert "mAP50-95 (NMS-free)" in text


def test_the_other_head_has_a_difference_of_its_own_and_no_verdict(folder: Path, add: Any) -> None:
    for seed in range(6):
        with_heads(add("baseline", seed, 0.30), "nms", nms=0.30, nms_free=0.20)
        with_heads(add("mixed", seed, 0.32 + seed / 1e3), "nms", nms=0.32 + seed / 1e3, nms_free=0.19 - seed / 1e3)
    (table,) = summary(folder)
    reference, row = table["rows"]
    assert reference["other_head_mean"] is None
    assert row["verdict"] == "better"
    assert row["delta_mean"] == pytest.approx(0.0225)
    assert row["other_head_mean"] == pytest.approx(-0.0125)
    assert row["other_head_low"] < row["other_head_mean"] < row["other_head_high"] < 0
    assert table["family"] == 1
    text = (folder / "summary.md").read_text(encoding="utf-8")
    assert "| delta (other head) | 95 % CI (other head) |" in text
    assert f" | {format_number(row['other_head_mean'], DELTA)} | " in text
    assert " ± 0.002 | " in text
    (made,) = make_tables(folder)
    assert "delta (other head)" in page("test", [made], [], [], folder)


def test_the_other_head_is_compared_where_both_rows_have_it(folder: Path, add: Any) -> None:
    for seed in range(2):
        add("baseline", seed, 0.30)
        with_heads(add("mixed", seed, 0.32), "nms_free", nms=0.35, nms_free=0.32)
    (table,) = summary(folder)
    assert [row["other_head_mean"] for row in table["rows"]] == [None, None]


def test_what_teaches_a_block_is_said(folder: Path, add: Any) -> None:
    with_heads(add("baseline", 0, 0.3), "nms", nms=0.3, nms_free=0.2)
    note = "a block learns from the one-to-many head alone"
    assert not any(note in each for table in summary(folder) for each in table["notes"])
    with_heads(add("mixed", 0, 0.3), "nms", nms=0.3, nms_free=0.2)
    assert any(note in each for table in summary(folder) for each in table["notes"])


def test_networks_with_one_head_have_no_such_columns(folder: Path, add: Any) -> None:
    add("baseline", 0, 0.3)
    (table,) = summary(folder)
    assert table["rows"][0]["nms_free_mean"] is None
    assert "NMS" not in (folder / "summary.md").read_text(encoding="utf-8")
    write_summary(folder, Asked(columns=("mAP50-95_nms_free",)))
    assert "mAP50-95 (NMS-free)" in (folder / "summary.md").read_text(encoding="utf-8")


def test_a_result_from_elsewhere_may_hold_anything(folder: Path, add: Any) -> None:
    path = add("baseline", 0, 0.3)
    for heads in (4, {"nms": 4}, {"nms": {"map50_95": "x"}}, [1]):
        result = json.loads((path / "result.json").read_text())
        result["metrics"] |= {"head": "nms", "heads": heads}
        (path / "result.json").write_text(json.dumps(result))
        (table,) = summary(folder)
        assert table["rows"][0]["nms_mean"] is None
