"""Tables, figures and files of another task than detection name its metric, and hold no run of another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from acmix_exp import load
from acmix_exp.outcomes import ClassOutcomes
from acmix_exp.report.columns import chosen, columns
from acmix_exp.report.figures.catalogue import draw
from acmix_exp.report.page_data import curves
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


def of_classifiers(runs: list[Path]) -> None:
    """Make runs those of classifiers, with the same headline."""
    of_task(runs, "classify")
    for number, run in enumerate(runs):
        result, path = json.loads((run / "result.json").read_text()), run / "result.json"
        metrics = result["metrics"]
        metrics["top1"], metrics["top5"] = metrics.pop("map50_95"), metrics.pop("map50")
        del metrics["precision"], metrics["recall"]
        metrics["per_class"] = {name: {"top1": 0.5} for name in metrics["per_class"]}
        for part in ("val_best", "val_last"):
            result[part] = {"epoch": 1, "top1": 0.25, "top5": 0.75}
        path.write_text(json.dumps(result))
        target = np.arange(40, dtype=np.uint16) % 2
        predicted = np.column_stack([target ^ (np.arange(40) < number + 5), 1 - target]).astype(np.uint16)
        names = np.array([f"{index}.jpg" for index in range(40)])
        ClassOutcomes(names, np.array(["a", "b"]), target, predicted, np.ones(40, np.float32)).save(
            run / "outcomes.npz"
        )
        history = (run / "history.csv").read_text()
        (run / "history.csv").write_text(history.replace("map50_95", "top1").replace("map50", "top5"))


def test_classifiers_have_top1_and_no_map(tmp_path: Path) -> None:
    of_classifiers(add_runs(tmp_path, ("baseline", "mixed"), 3, pictures=False))
    write_summary(tmp_path, Asked())
    (table,) = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert table["metric"] == "top-1"
    row = table["rows"][1]
    values = [each["top1"] for each in row["values"]]
    assert row["top1_mean"] == pytest.approx(np.mean(values))
    assert row["delta_mean"] == pytest.approx(np.mean([each["delta"] for each in row["deltas"]]))
    assert [row[key] for key in ("map50_95_mean", "map50_mean", "precision_mean", "recall_mean")] == [None] * 4
    assert (row["val_last_mean"], row["val_best_mean"]) == (0.25, 0.25)
    assert row["image_low"] is not None
    with open(tmp_path / "summary.csv") as file:
        (_, mixed) = csv.DictReader(file)
    assert mixed["map50_95_mean"] == mixed["map50_mean"] == ""
    assert float(mixed["top1_mean"]) == row["top1_mean"]
    markdown, tex = ((tmp_path / name).read_text() for name in ("summary.md", "table.tex"))
    assert "yolov8n-cls" in markdown
    assert "| top-1 (± std) | top-5 |" in markdown
    assert "val top-1 (last)" in markdown
    assert "Deltas are in top-1" in markdown
    assert "delta: top-1 against baseline" in tex
    assert "mAP" not in markdown + tex
    (made,) = make_tables(tmp_path, Asked(columns=chosen("thesis")))
    assert [column.heading for column in columns("md", made)][:2] == ["top-1", "top-5"]
    assert [column.heading for column in columns("runs", made)][:1] == ["top-1"]
    assert "top-1 against baseline" in conclusion(made.rows[1], "baseline")
    drawn = {name: draw(name, made) for name in ("forest", "learning_curves", "confusion", "class_deltas", "latency")}
    assert all(drawn.values())
    assert "images of a true class" in drawn["confusion"][0].caption
    assert draw("precision_recall", made) == []
    content = curves(made)
    assert content is not None
    assert content["metrics"]["top1"] == "top-1 on val"


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
