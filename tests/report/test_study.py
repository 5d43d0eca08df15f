"""``acmix_exp.load``: an experiment as dicts, frames and figures."""

from __future__ import annotations

import json

import polars
import pytest

import acmix_exp
from acmix_exp.errors import ConfigError
from acmix_exp.report.statistics import Verdict
from acmix_exp.report.write import write_summary


@pytest.fixture
def finished(add, folder):
    for seed in range(2):
        add("baseline", seed, (0.4, 0.41)[seed])
        add("mixed", seed, (0.42, 0.44)[seed])
    return folder


def test_the_table_is_that_of_summary_json(finished):
    study = acmix_exp.load(finished)
    write_summary(finished)
    (table,) = json.loads((finished / "summary.json").read_text())["tables"]
    rows = [{key: row[key] for key in row if key not in ("values", "deltas")} for row in table["rows"]]
    assert study.table == rows
    assert study.notes == table["notes"]


def test_the_verdict_of_each_row_is_one_word(finished):
    study = acmix_exp.load(str(finished))
    assert list(study.verdicts) == ["baseline", "mixed"]
    assert study.verdicts["baseline"] == "reference"
    assert {type(word) for word in study.verdicts.values()} == {str}
    assert study.verdicts["mixed"] in list(Verdict)
    assert study.findings[0] in repr(study)


def test_runs_that_are_not_finished_have_no_metrics(add, finished):
    add("mixed", 2, None, status={"status": "failed", "error": "ValueError: no"})
    runs = acmix_exp.load(finished).runs
    assert [(run["arm"], run["seed"], run["status"], run["map50_95"]) for run in runs] == [
        ("baseline", 0, "done", 0.4),
        ("baseline", 1, "done", 0.41),
        ("mixed", 0, "done", 0.42),
        ("mixed", 1, "done", 0.44),
        ("mixed", 2, "failed", None),
    ]
    assert runs[-1]["error"] == "ValueError: no"
    assert runs[0]["parameters"] == 3_000_000


def test_swept_keys_are_columns(add, folder):
    add("baseline", 0, 0.4)
    for kernel in (3, 5):
        add("mixed", 0, 0.41, swept={"block.kernel_att": kernel}, kernel_att=kernel)
    study = acmix_exp.load(folder)
    assert [row["block.kernel_att"] for row in study.table] == [None, 3, 5]
    assert "mixed kernel_att=3" in study.verdicts
    assert {run.get("block.kernel_att") for run in study.runs} == {None, 3, 5}


def test_rows_of_several_tables_are_numbered(add, finished):
    add("baseline", 0, 0.5, epochs=7)
    study = acmix_exp.load(finished)
    assert {row["table"] for row in study.table} == {1, 2}
    assert len(study.verdicts) == len(study.table) == 3


def test_the_history_is_numbers(add, folder):
    (add("baseline", 0, 0.4) / "history.csv").write_text("epoch,map50_95,seconds\n1,0.25,3.5\n2,0.5,nan\n")
    study = acmix_exp.load(folder)
    assert [(row["arm"], row["seed"], row["epoch"], row["map50_95"]) for row in study.history] == [
        ("baseline", 0, 1, 0.25),
        ("baseline", 0, 2, 0.5),
    ]


def test_frames_are_of_polars(finished):
    study = acmix_exp.load(finished)
    frame = study.to_frame()
    assert isinstance(frame, polars.DataFrame)
    assert frame["arm"].to_list() == ["baseline", "mixed"]
    assert study.to_frame("runs").height == 4
    assert study.to_frame("history").height == len(study.history)
    with pytest.raises(ConfigError, match=r"^of=rows: must be one of table, runs, history$"):
        study.to_frame("rows")


def test_a_figure_is_of_matplotlib_and_unsaved(finished, tmp_path):
    study = acmix_exp.load(finished)
    before = sorted(finished.rglob("*"))
    study.figure("forest").savefig(tmp_path / "forest.png")
    assert (tmp_path / "forest.png").stat().st_size > 1000
    assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "forst"}, "^figure=forst: must be one of forest, "),
        ({"name": "windows"}, "^figure=windows: the runs in .* have no data for it$"),
        ({"name": "forest", "arm": "mixed"}, "^arm=mixed: must be left out: it is of all arms$"),
        ({"name": "forest", "table": 2}, "^table=2: must be from 1 to 1$"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(finished, arguments, message):
    with pytest.raises(ConfigError, match=message):
        acmix_exp.load(finished).figure(**arguments)


def test_a_folder_without_runs_is_refused_in_one_line(finished):
    run = next(finished.glob("mixed-*"))
    (finished / "figures").mkdir()
    for folder, message in {
        finished.parent: f"^folder={finished.parent}: holds no runs; must be one of the experiments in it: test$",
        finished.parent / "no": "no such folder; must be the folder of an experiment, such as runs/demo$",
        run: f"is a run; must be the folder of its experiment, {finished}$",
        finished / "figures": "holds no runs; must be one that does$",
        run / "config.yaml": "no such folder",
    }.items():
        with pytest.raises(ConfigError, match=message):
            acmix_exp.load(folder)


def test_runs_that_cannot_be_read_are_refused_in_one_line(add, folder):
    (add("baseline", 0, 0.4) / "config.yaml").unlink()
    with pytest.raises(
        ConfigError, match=r"none of its runs can be read: baseline-s0-\d+, its config.yaml is missing$"
    ):
        acmix_exp.load(folder)


def test_a_reference_without_runs_is_refused(finished):
    assert acmix_exp.load(finished, reference="mixed").verdicts["mixed"] == "reference"
    with pytest.raises(ConfigError, match=r"^reference=conv: has no run in .*; must be one of baseline, mixed$"):
        acmix_exp.load(finished, reference="conv")
