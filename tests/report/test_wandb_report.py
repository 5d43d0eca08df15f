"""The experiment's own W&B run, read back from its .wandb file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from acmix_exp.config import LoggerConfig
from acmix_exp.report.build import Report
from acmix_exp.report.figures.style import Drawing, Drawn
from acmix_exp.report.table import make_tables
from acmix_exp.report.wandb_report import logger_for_report, logger_of_runs, publish, sync_command
from acmix_exp.report.write import as_json
from tests.report import builders
from tests.tracking import wandb_file

OFFLINE = LoggerConfig(mode="offline", project="blocks", entity=None)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def reported(folder: Path, seeds: int = 2) -> Report:
    """A folder of runs with a report in it, without drawing one."""
    for path in builders.add_runs(folder, ("baseline", "mixed"), seeds=seeds, epochs=2, pictures=False):
        (path / "wandb").mkdir()
    (folder / "figures").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "figures" / "forest.png")
    (folder / "report.html").write_text("<!DOCTYPE html><title>report</title>")
    return Report(make_tables(folder), [Drawn(0, "forest", Drawing(Figure(), "Paired differences", ""), "forest")])


def content(file: Path, entry: Any) -> str:
    return (file.parent / "files" / entry["path"]).read_text()


def test_the_logged_report_reads_back(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ablation"
    report = reported(folder)
    (line,) = publish(folder, report, OFFLINE)
    assert line == (f"W&B is offline; to upload: wandb sync {folder}/wandb/offline-run-*")
    (path,) = wandb_file.find(folder)
    file = wandb_file.read(path)
    assert (file.project, file.group, file.job_type, file.name) == ("blocks", "ablation", "report", "ablation-report")
    assert file.exit_code == 0
    assert file.config["name"] == "ablation"
    (row,) = file.rows
    table = json.loads(content(path, row["table"]))
    rows = [dict(zip(table["columns"], cells, strict=True)) for cells in table["data"]]
    for found, expected in zip(rows, as_json(report.tables)[0]["rows"], strict=True):
        assert found["map50_95_mean"] == pytest.approx(expected["map50_95_mean"])
        assert (found["arm"], found["n"], found["verdict"]) == (expected["arm"], 2, expected["verdict"])
    deltas = json.loads(content(path, row["deltas"]))
    assert deltas["columns"] == [
        *("table", "arm", "n", "delta_mean", "delta_low", "delta_high", "simultaneous_low", "simultaneous_high"),
        *("p_adjusted", "verdict"),
    ]
    (mixed,) = deltas["data"]
    summary = as_json(report.tables)[0]["rows"][1]
    assert mixed[:3] == [1, "mixed", 2]
    assert mixed[3:6] == pytest.approx([summary[key] for key in ("delta_mean", "delta_low", "delta_high")])
    by_seed = json.loads(content(path, row["deltas_by_seed"]))
    assert [cells[:3] for cells in by_seed["data"]] == [[1, "mixed", 0], [1, "mixed", 1]]
    assert (path.parent / "files" / row["figures/forest"]["path"]).read_bytes()[:4] == b"\x89PNG"
    assert content(path, row["report"]) == "<!DOCTYPE html><title>report</title>"
    assert file.summary["verdict/mixed"] == summary["verdict"]
    assert file.summary["delta_mean/mixed"] == pytest.approx(summary["delta_mean"])


def test_two_tables_are_separate(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ablation"
    for epochs in (2, 3):
        builders.add_run(folder, "baseline", epochs, epochs, pictures=False)
        (builders.add_run(folder, "mixed", epochs, epochs, pictures=False) / "wandb").mkdir()
    tables = make_tables(folder)
    (folder / "report.html").write_text("<!DOCTYPE html><title>report</title>")
    publish(folder, Report(tables, []), OFFLINE)
    (path,) = wandb_file.find(folder)
    file = wandb_file.read(path)
    (row,) = file.rows
    expected = [table.rows[1].comparison.mean for table in tables]
    assert expected[0] != expected[1]
    for number in (1, 2):
        assert file.summary[f"table{number}/delta_mean/mixed"] == pytest.approx(expected[number - 1])
    assert "delta_mean/mixed" not in file.summary
    deltas = [json.loads(content(path, row[key]))["data"] for key in ("deltas", "deltas_by_seed")]
    assert [[cells[0] for cells in data] for data in deltas] == [[1, 2], [1, 2]]
    assert [cells[3] for cells in deltas[0]] == pytest.approx(expected)


def test_a_second_report_resumes_the_same_wandb_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ablation"
    report = reported(folder, seeds=1)
    publish(folder, report, OFFLINE)
    (first,) = wandb_file.find(folder)
    (folder / "report.html").write_text("newer")
    publish(folder, report, OFFLINE)
    (second,) = wandb_file.find(folder)
    assert second.parent != first.parent or second.stat().st_mtime_ns != first.stat().st_mtime_ns
    assert wandb_file.read(second).id == (folder / "wandb" / "run_id").read_text().strip()
    assert second.parent.name.endswith(wandb_file.read(second).id)
    assert content(second, wandb_file.read(second).rows[0]["report"]) == "newer"


def test_nothing_if_the_runs_were_not_logged(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ablation"
    report = reported(folder, seeds=1)
    assert publish(folder, report, LoggerConfig(mode="disabled")) == []
    for path in folder.glob("*/wandb"):
        path.rmdir()
    assert publish(folder, report, OFFLINE) == []
    assert not (folder / "wandb").exists()


def test_the_project_is_that_of_the_runs(tmp_path: Path) -> None:
    builders.add_run(tmp_path / "runs", "baseline", 0, 1, pictures=False)
    assert logger_of_runs(tmp_path / "runs") == LoggerConfig("offline", "acmix_exp", None)
    assert logger_of_runs(tmp_path / "nothing") == LoggerConfig()


def test_a_report_of_a_folder_goes_online_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's key must not send the author's runs to the author's project."""
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    config = builders.add_run(tmp_path / "runs", "baseline", 0, 1, pictures=False) / "config.yaml"
    for mode in ("auto", "online"):
        author = {"mode": mode, "project": "theirs", "entity": "author"}
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "logger": author}))
        mine = LoggerConfig("auto", "acmix_exp", None)
        assert logger_for_report(tmp_path / "runs", mine, {"task", "name"}) == LoggerConfig(
            "offline", "theirs", "author"
        )
        asked = logger_for_report(tmp_path / "runs", LoggerConfig("online", "mine", None), {"logger", "logger.project"})
        assert asked == LoggerConfig("online", "mine", "author")
        assert logger_for_report(tmp_path / "runs", LoggerConfig("disabled"), {"logger.mode"}).mode == "disabled"


def test_in_the_group_of_the_runs_if_the_folder_was_renamed(tmp_path: Path) -> None:
    report = reported(tmp_path / "ablation", seeds=1)
    folder = (tmp_path / "ablation").rename(tmp_path / "a copy")
    (line,) = publish(folder, report, OFFLINE)
    assert line.endswith(f"wandb sync '{folder}'/wandb/offline-run-*")
    (path,) = wandb_file.find(folder)
    file = wandb_file.read(path)
    assert (file.group, file.name) == ("ablation", "ablation-report")


def test_the_upload_command_names_existing_runs(tmp_path: Path) -> None:
    (tmp_path / "my runs" / "mixed-s0-0" / "wandb" / "offline-run-1").mkdir(parents=True)
    assert sync_command(tmp_path / "my runs") == f"wandb sync '{tmp_path}/my runs'/*/wandb/offline-run-*"
