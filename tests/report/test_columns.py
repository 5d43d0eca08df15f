"""report.columns: presets, names, and what is refused."""

from __future__ import annotations

import csv
import json
import re

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.report.columns import BY_NAME, COLUMNS, PRESETS, SHAPED, chosen, columns
from acmix_exp.report.html import page
from acmix_exp.report.planned import Asked
from acmix_exp.report.table import make_tables
from acmix_exp.report.write import as_json
from tests.report.builders import summary


def test_names_are_unique_and_presets_hold_names() -> None:
    assert len(BY_NAME) == len(COLUMNS)
    assert {name for names in PRESETS.values() for name in names} <= set(BY_NAME)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("default", ()),
        ("Thesis", ("P", "R", "mAP50", "mAP50-95", "parameters", "GFLOPs", "FPS")),
        (["p", "P"], ("p", "P")),
        (["map50-95", "Params", "fps", "recall", "precision_mean"], ("mAP50-95", "parameters", "FPS", "R", "P")),
        (["thesis", "verdict", "P"], (*PRESETS["thesis"], "verdict")),
        ("verdict", ("verdict",)),
    ],
)
def test_what_may_be_asked_for(value: object, names: tuple[str, ...]) -> None:
    assert chosen(value) == names


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("thesys", "report.columns=thesys: no such column or preset; did you mean thesis?"),
        (["P", "mAP5"], "report.columns=[P,mAP5]: mAP5: no such column or preset; did you mean mAP50?"),
        (["P", "F2"], "report.columns=[P,F2]: F2: no such column or preset; must be default, thesis, paper, or a list"),
        ([], "report.columns=[]: must be default, thesis, paper, or a list of columns such as [P,R,mAP50,"),
        (None, "report.columns=None: no such column or preset; must be"),
        ([None, 3], "report.columns=[None,3]: None: no such column or preset; must be"),
    ],
)
def test_what_is_refused(value: object, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(value)
    (text,) = raised.value.lines
    assert text.startswith(line)


def test_what_is_asked_for_shapes_the_tables_and_leaves_the_files_of_numbers_whole(folder, add) -> None:
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4)
    (plain,) = summary(folder)
    with open(folder / "summary.csv", newline="") as file:
        before = list(csv.DictReader(file))
    (table,) = summary(folder, columns=chosen("thesis"))
    assert table["columns"] == list(PRESETS["thesis"])
    assert table["rows"] == plain["rows"]
    with open(folder / "summary.csv", newline="") as file:
        assert list(csv.DictReader(file)) == before
    text = (folder / "summary.md").read_text()
    head = "| arm | precision | recall | mAP50 | mAP50-95 (± std) | parameters (M) | GFLOPs | FPS (batch 1) |"
    assert head in text
    assert "FPS is empty for baseline, mixed: it needs the latencies of task=profile" in text
    assert json.loads((folder / "summary.json").read_text())["asked"] == [
        {"reference": "baseline", "margin": None, "pairs": "reference"}
    ]


def test_the_page_shows_them(folder, add, tmp_path) -> None:
    add("baseline", 0, 0.3)
    (table,) = make_tables(folder, Asked(columns=chosen(["P", "FPS"])))
    text = page("n", [table], [], [], tmp_path)
    (results,) = re.findall(r'<table class="results".*?</table>', text, re.DOTALL)
    assert re.findall(r"<th scope=\"col\"[^>]*>([^<]*)</th>", results) == ["arm", "precision", "FPS (batch 1)"]


def test_every_column_may_be_shown_in_every_shape(folder, add) -> None:
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4)
    everything = tuple(BY_NAME)
    (table,) = make_tables(folder, Asked(columns=everything))
    for output in SHAPED:
        assert [column.name for column in columns(output, table)] == list(everything)
        assert all(column.text(row) for column in columns(output, table) for row in table.rows)
    assert as_json([table])[0]["columns"] == list(everything)
