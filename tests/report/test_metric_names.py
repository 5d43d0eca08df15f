"""Tables, figures and files of another task than detection name its metric, and hold no run of another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from acmix_exp import load
from acmix_exp.report.columns import columns
from acmix_exp.report.planned import Asked
from acmix_exp.report.sentences import conclusion
from acmix_exp.report.table import make_tables
from acmix_exp.report.write import write_summary
from tests.report.builders import add_runs


def of_task(runs: list[Path], task: str) -> None:
    """Make runs those of another task."""
    for run in runs:
        path = run / "provenance.json"
        provenance = json.loads(path.read_text())
        provenance["identity"]["model"]["task"] = task
        path.write_text(json.dumps(provenance))


def test_every_output_names_the_metric(tmp_path: Path) -> None:
    of_task(add_runs(tmp_path, ("baseline", "mixed"), 3, pictures=False), "segment")
    write_summary(tmp_path, Asked())
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert table["metric"] == "mask mAP50-95"
    assert table["settings"]["model"]["task"] == "segment"
    with open(tmp_path / "summary.csv") as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"mask mAP50-95"}
    markdown, tex = ((tmp_path / name).read_text() for name in ("summary.md", "table.tex"))
    assert "yolov8n-seg" in markdown
    assert "| mask mAP50-95 (± std) | mask mAP50 |" in markdown
    assert "val mask mAP (last)" in markdown
    assert "mask mAP50-95" in tex
    assert "delta: mask mAP50-95 against baseline" in tex
    assert "Deltas are in mask mAP50-95, paired by seed" in markdown
    assert "mask mAP50-95 with its standard deviation" in tex
    assert {row["metric"] for row in load(tmp_path).table} == {"mask mAP50-95"}
    (made,) = make_tables(tmp_path, Asked())
    assert "mask mAP50-95 against baseline" in conclusion(made.rows[1], "baseline")


def test_tasks_are_never_in_one_table(tmp_path: Path) -> None:
    runs = add_runs(tmp_path, ("baseline", "mixed"), 4, pictures=False)
    of_task([run for run in runs if "-s3-" in run.name], "pose")
    tables = make_tables(tmp_path, Asked())
    assert sorted(table.headline for table in tables) == ["mAP50-95", "pose mAP50-95"]
    headings = [[column.heading for column in columns("md", table)][1] for table in tables]
    assert headings == [table.headline for table in tables]
    write_summary(tmp_path, Asked())
    with open(tmp_path / "summary.csv") as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"mAP50-95", "pose mAP50-95"}


def test_detection_is_as_before(tmp_path: Path) -> None:
    add_runs(tmp_path, ("baseline", "mixed"), 3, pictures=False)
    write_summary(tmp_path, Asked())
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert "metric" not in table
    with open(tmp_path / "summary.csv") as file:
        assert "metric" not in next(csv.reader(file))
