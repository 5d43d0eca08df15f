"""Notes on runs that have not finished: few by name, many counted, those of an earlier command told apart."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from acmix_exp.report.planned import Asked
from acmix_exp.report.table import make_tables
from tests.report import builders

WIDE, NARROW = "python -m acmix_exp -m +experiment=zoo", "python -m acmix_exp -m arm=baseline,mixed"


def as_waiting(path: Path, command: str, state: str = "pending", planned: float = 1000.0) -> None:
    """Turn a finished run into one that waits, planned by ``command`` at that time."""
    (path / "result.json").unlink()
    (path / "history.csv").unlink(missing_ok=True)
    (path / "status.json").write_text(json.dumps({"status": state, "attempt": 0, "arm": path.name.split("-s")[0]}))
    set_command(path, command, planned)


def set_command(path: Path, command: str, planned: float) -> None:
    file = path / "provenance.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "command": command}))
    os.utime(file, (planned, planned))


def as_started(path: Path, command: str, started: float) -> None:
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps({**status, "started": started}))
    set_command(path, command, started)


def notes(folder: Path) -> list[str]:
    return [note for table in make_tables(folder, Asked()) for note in table.notes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two finished runs of a narrow command, after a wide one that planned four runs of two more arms."""
    builders.add_runs(tmp_path / "x", ("baseline", "mixed", "conv", "attention"), seeds=2, epochs=2, pictures=False)
    for path in (tmp_path / "x").iterdir():
        if path.name.startswith(("conv", "attention")):
            as_waiting(path, WIDE)
        else:
            as_started(path, NARROW, 2000.0)
    return tmp_path / "x"


def test_runs_of_an_earlier_wider_command_are_told_apart(folder: Path) -> None:
    (note,) = [note for note in notes(folder) if "pending" in note]
    assert note == (
        "4 runs pending: conv (2), attention (2): an earlier command planned them and the latest does not, so they are "
        f"not trained; rerun {WIDE}, or delete their folders"
    )


def test_many_runs_that_wait_are_one_line(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.startswith(("conv", "attention")):
            set_command(path, NARROW, 3000.0)
    assert [note for note in notes(folder) if "pending" in note] == ["4 runs pending: conv (2), attention (2)"]


def test_few_runs_are_named(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.startswith("conv"):
            set_command(path, NARROW, 3000.0)
        elif path.name.startswith("attention"):
            shutil.rmtree(path)
    assert [note for note in notes(folder) if "pending" in note] == ["conv seed 0 is pending", "conv seed 1 is pending"]


def test_a_command_that_was_planned_last_but_has_not_started_is_not_left_over(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name.startswith(("conv", "attention")):
            set_command(path, WIDE, 3000.0)  # after the last start
    assert not [note for note in notes(folder) if "earlier command" in note]
