"""A report of folders in which single files are missing, cut or not what a run writes: named, never a traceback."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import yaml

from acmix_exp.report.figures.catalogue import FIGURES, draw
from acmix_exp.report.table import make_tables
from tests.report.builders import summary


@pytest.fixture
def pair(add):
    """A finished baseline and a finished mixed, of one seed."""
    return {arm: add(arm, 0, value) for arm, value in (("baseline", 0.3), ("mixed", 0.4))}


def change(path: Path, text: str, **parts: object) -> None:
    """Merge ``parts`` into the JSON or YAML file, and write ``text`` where they hold ``"TEXT"``."""
    read = yaml.safe_load(path.read_text())
    path.write_text(json.dumps({**read, **parts}).replace('"TEXT"', text))


def report(folder):
    """The rows by arm and the notes of the one table, after every figure was drawn."""
    (table,) = summary(folder)
    for name in FIGURES:
        assert all(drawing.caption for drawing in draw(name, make_tables(folder)[0]))
    return {row["arm"]: row for row in table["rows"]}, "\n".join(table["notes"])


@pytest.mark.parametrize("odd", [{"map50_95": "TEXT", "map50": 0.5}, {"map50_95": 0.4, "map50": "TEXT"}, {"map50": 1}])
def test_a_headline_that_is_no_number_is_an_unfinished_run(folder, pair, odd):
    change(pair["mixed"] / "result.json", "NaN", metrics=odd)
    rows, notes = report(folder)
    assert (rows["mixed"]["n"], rows["mixed"]["delta_mean"]) == (0, None)
    if len(odd) > 1:
        assert "mixed seed 0 diverged: the mAP in result.json is not finite" in notes
        assert rows["mixed"]["verdict"] == "diverged"
    else:
        assert "mixed seed 0 is pending: result.json is truncated" in notes


def test_a_lost_result_is_named(folder, pair):
    (pair["mixed"] / "result.json").unlink()
    assert "mixed seed 0 is pending: result.json is missing" in report(folder)[1]
    (pair["mixed"] / "status.json").unlink()
    assert "mixed seed 0 is pending" in report(folder)[1].splitlines(), "it has not begun"


@pytest.mark.parametrize("odd", [{"map50_95": "TEXT"}, [0.4], "TEXT"])
def test_invalid_val_values_are_left_out_of_the_means(folder, pair, add, odd):
    change(pair["mixed"] / "result.json", "NaN", val_last=odd, val_best=odd)
    change(add("mixed", 1, 0.4) / "result.json", "", val_last={"map50_95": 0.25}, val_best={"map50_95": 0.35})
    rows, _ = report(folder)
    assert (rows["mixed"]["n"], rows["mixed"]["val_last_mean"], rows["mixed"]["val_best_mean"]) == (2, 0.25, 0.35)


@pytest.mark.parametrize("odd", [["RBC"], {"RBC": 0.3}, {"RBC": {"map50_95": "TEXT"}}, {"RBC": {}}])
def test_odd_classes_have_no_deltas(folder, pair, odd):
    change(pair["mixed"] / "result.json", "NaN", metrics={"map50_95": 0.4, "map50": 0.6, "per_class": odd})
    change(
        pair["baseline"] / "result.json",
        "",
        metrics={"map50_95": 0.3, "map50": 0.5, "per_class": {"RBC": {"map50_95": 0.3}}},
    )
    assert report(folder)[0]["mixed"]["delta_mean"] == pytest.approx(0.1)


def test_a_running_status_without_an_owner(folder, pair):
    (pair["mixed"] / "status.json").write_text(json.dumps({"status": "running", "host": platform.node()}))
    assert "mixed seed 0 is interrupted" in report(folder)[1]


def test_no_number_in_any_other_file(folder, pair):
    for name in ("status.json", "provenance.json"):
        change(pair["mixed"] / name, "NaN", swept={"train.lr0": "TEXT"}, hardware={"cores": "TEXT"})
    (folder / "profile.json").write_text('{"rows": [{"arm": "mixed", "cost": {"gflops": NaN}}], "threads": NaN}')
    assert report(folder)[0]["mixed"]["train.lr0"] is None


@pytest.mark.parametrize("model", [None, {}, 3])
def test_a_config_without_a_model_is_named(folder, pair, model):
    change(pair["mixed"] / "config.yaml", "", model=model)
    rows, notes = report(folder)
    assert list(rows) == ["baseline"]
    assert f"{pair['mixed'].name} is left out: its config.yaml cannot be read" in notes


@pytest.mark.parametrize("name", ["config.yaml", "provenance.json"])
@pytest.mark.parametrize("text", [None, "{"])
def test_a_run_without_its_identity_is_named(folder, pair, name, text):
    (pair["mixed"] / name).unlink()
    if text:
        (pair["mixed"] / name).write_text(text)
    rows, notes = report(folder)
    assert list(rows) == ["baseline"]
    why = "cannot be read" if text else "is missing"
    assert f"{pair['mixed'].name} is left out: its {name} {why}" in notes


@pytest.mark.parametrize("recorded", ["[sppf]", ["sppf"], "[ 'sppf' ]"])
def test_swept_lists_are_text(folder, add, recorded):
    """``'model.placement.sites=[sppf]'`` was swept, and once one of its runs made without that axis."""
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4)
    add("mixed", 1, 0.5, swept={"model.placement.sites": recorded})
    rows = summary(folder)[0]["rows"]
    assert [(row["model.placement.sites"], row["n"]) for row in rows] == [(None, 1), ("[sppf]", 2)]
    add("mixed", 1, 0.5, swept={"model.placement.sites": "[backbone_p3,backbone_p4]"})
    assert [row["n"] for row in summary(folder)[0]["rows"]] == [1, 1, 2]
