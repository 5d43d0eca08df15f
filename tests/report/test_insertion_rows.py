"""Arms with placements of their own, as in the incremental table: one table, each row with what it inserts where."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from acmix_exp.report.build import build
from acmix_exp.report.figures.network_map import placements
from acmix_exp.report.table import make_tables
from tests.report.builders import summary

ACMIX: dict[str, Any] = {
    "block": {"name": "acmix", "kernel_att": 5, "path": "mixed"},
    "placement": {"mode": "after", "sites": ["sppf"]},
}
EMA: dict[str, Any] = {
    "block": {"name": "ema", "form": "residual", "factor": 8},
    "placement": {"mode": "after", "sites": ["neck_p3", "neck_p4"], "act": False},
}
MATCHED: dict[str, Any] = {"block": {"name": "conv3x3_matched", "match": "parameters", "like": ACMIX["block"]}}


@pytest.fixture
def add_inserted(add: Callable[..., Path]) -> Callable[..., Path]:
    def write(arm: str, seed: int, value: float, *parts: Mapping[str, Any], control: bool = False) -> Path:
        path: Path = add(arm, seed, value)
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["arm"] |= {"insertions": [dict(part) for part in parts], "control": control}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        provenance = json.loads((path / "provenance.json").read_text())
        one = parts[0] if len(parts) == 1 else {"block": None, "placement": None}
        several = {"insertions": parts} if len(parts) > 1 else {}
        provenance["identity"] |= {**one, **several}
        (path / "provenance.json").write_text(json.dumps(provenance))
        return path

    return write


def test_one_table_with_what_each_arm_inserts(folder: Path, add: Any, add_inserted: Any) -> None:
    for seed in range(6):
        add("baseline", seed, 0.30 + 0.001 * seed)
        add_inserted("a", seed, 0.32 + 0.001 * seed, ACMIX)
        add_inserted("b", seed, 0.31 + 0.001 * seed, EMA)
        add_inserted("a_and_b", seed, 0.34 + 0.0011 * seed, ACMIX, EMA)
    (table,) = summary(folder, pairs="all")
    assert table["family"] == 6
    assert [row["arm"] for row in table["rows"]] == ["baseline", "a", "b", "a_and_b"]
    assert [row["verdict"] for row in table["rows"]] == ["reference", "better", "no_difference", "better"]
    text = "ema (act false) after neck_p3, neck_p4"
    assert "a: acmix-mixed (kernel_att 5) after sppf" in table["notes"]
    assert f"a_and_b: acmix-mixed (kernel_att 5) after sppf and {text}" in table["notes"]
    assert "placement" not in table["settings"]
    assert len(table["pairs"]) == 3
    build(folder)
    assert text in (folder / "report.html").read_text(encoding="utf-8")


def test_an_arm_that_is_redefined_is_two_rows(folder: Path, add: Any, add_inserted: Any) -> None:
    for seed in range(2):
        add("baseline", seed, 0.3)
    other = {**EMA, "block": {**EMA["block"], "factor": 16}}
    add_inserted("both", 0, 0.31, ACMIX, EMA)
    add_inserted("both", 1, 0.32, ACMIX, other)
    (table,) = summary(folder)
    names = [row["arm"] for row in table["rows"]]
    assert len(names) == 3
    assert any("ema (factor 16, act false)" in name for name in names)


def test_a_control_of_several_blocks_says_what_it_matches(folder: Path, add: Any, add_inserted: Any) -> None:
    add("baseline", 0, 0.3)
    like_ema = {**MATCHED, "placement": EMA["placement"], "block": {**MATCHED["block"], "like": EMA["block"]}}
    path = add_inserted("m", 0, 0.31, {**MATCHED, "placement": ACMIX["placement"]}, like_ema, control=True)
    result = json.loads((path / "result.json").read_text())
    result["cost"] |= {"parameters_block": 990, "matched_parameters": 1000, "hidden_sppf": 4, "hidden_neck_p3": 2}
    (path / "result.json").write_text(json.dumps(result))
    (table,) = summary(folder)
    notes = " ".join(table["notes"])
    assert "conv3x3_matched like acmix-mixed (match parameters, kernel_att 5) after sppf" in notes
    assert "(4 at sppf, 2 at neck_p3) and a 1x1 back, 990 parameters where acmix-mixed and ema have 1,000 (-1" in notes


def test_parts_of_a_wrong_type_are_words_all_the_same(folder: Path, add: Any, add_inserted: Any) -> None:
    add("baseline", 0, 0.3)
    odd = {"block": {"name": 4, "like": "x"}, "placement": {"mode": [], "sites": 4}}
    add_inserted("both", 0, 0.31, odd, EMA, control=True)
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["baseline", "both"]
    (drawing,) = placements(make_tables(folder)[0])
    assert "neck_p4" in drawing.results


def test_identity_at_several_places_is_named_once(folder: Path, add: Any, add_inserted: Any) -> None:
    add("baseline", 0, 0.3)
    joined = {"norm": False, "act": False, "residual": False}
    parts = [{"block": {"name": "identity"}, "placement": {**part["placement"], **joined}} for part in (ACMIX, EMA)]
    add_inserted("identity", 0, 0.3, *parts, control=True)
    (table,) = summary(folder)
    assert "identity: identity after sppf, neck_p3, neck_p4" in table["notes"]


def test_a_folder_from_elsewhere_may_hold_anything(folder: Path, add: Any, add_inserted: Any) -> None:
    add("baseline", 0, 0.3)
    path = add_inserted("both", 0, 0.31, ACMIX, EMA)
    provenance = json.loads((path / "provenance.json").read_text())
    for wrong in (4, [4], [{"block": 4}], {"block": {}}):
        provenance["identity"]["insertions"] = wrong
        (path / "provenance.json").write_text(json.dumps(provenance))
        (table,) = summary(folder)
        assert [row["arm"] for row in table["rows"]] == ["baseline"]
