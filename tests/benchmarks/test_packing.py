"""What several runs at once bring, measured on a CPU."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from acmix_exp.config import Config
from acmix_exp.run.directory import Run
from benchmarks import packing
from benchmarks.stages import REPO, planned, python


def test_the_best_number_is_named() -> None:
    rows = [
        {"runs_at_once": 1, "epoch_seconds": 10.0, "epochs_per_hour": 360.0, "memory_mb": 9},
        {"runs_at_once": 2, "epoch_seconds": 12.0, "epochs_per_hour": 600.0, "memory_mb": 18},
        {"runs_at_once": 3, "epoch_seconds": 20.0, "epochs_per_hour": 540.0, "memory_mb": 27},
    ]
    text = packing.table(rows)
    assert f"| 2 | 12.00 | 600 | {600 / Config().train.epochs:.2f} | 1.67 |" in text
    assert text.endswith("hardware.runs_at_once=2")


def test_the_first_epoch_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,seconds\n1,50\n2,3\n3,5\n")
    assert packing.epoch_seconds(Run(tmp_path)) == 4.0
    (tmp_path / "history.csv").write_text("epoch,seconds\n1,50\n")
    assert packing.epoch_seconds(Run(tmp_path)) == 50.0


@pytest.mark.slow
def test_a_dry_run(tmp_path: Path) -> None:
    command = python(
        "benchmarks.packing", "--dry-run", "--at-once", 1, 2, "--epochs", 1, "--output", tmp_path / "p.json"
    )
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=600, check=True)
    rows = json.loads((tmp_path / "p.json").read_text())["results"]
    assert [row["runs_at_once"] for row in rows] == [1, 2]
    assert all(row["epochs_per_hour"] > 0 and row["memory_mb"] > 100 for row in rows)
    assert packing.table(rows) in done.stdout


def test_it_is_a_stage_of_the_command_for_a_gpu() -> None:
    (stage,) = [stage for stage in planned(Path("out"), "data.yaml", dry=False) if stage.name == "packing"]
    assert stage.command[-4:] == ("--data", "data.yaml", "--output", "out/packing.json")
