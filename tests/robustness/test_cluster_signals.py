"""Signals as a cluster or the system sends them, to real trainings: the run is interrupted, and resumes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from acmix_exp.run.directory import runs_in
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import finish, only_run, start, temporaries, tiny_data, wait_until

SECTION = "Interruptions and disks"
TWO = ("-m", "seed=0,1", "train.epochs=20")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


def begin(folder: Path, data: Path, *arguments: str):
    process = start(folder, data, *arguments)
    wait_until(lambda: list((folder / "runs" / "default").glob("*/history.csv")), process)
    return process


def tell(processes, number: int) -> None:
    for each in processes:
        if each.is_running():
            each.send_signal(number)


WAYS = {  # signal, whether every process gets it, exit code
    "SIGUSR1 of a command": (signal.SIGUSR1, False, 138),
    "SIGUSR2 of a command and all its processes, as ahead of a preemption": (signal.SIGUSR2, True, 140),
    "SIGTERM of a command and all its processes, workers too, as by scancel": (signal.SIGTERM, True, 143),
}
for way in WAYS:
    add(Row(SECTION, way, "interrupted; the same command resumes from the last whole epoch"))


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_a_cluster_s_signal_interrupts(tmp_path, data, how):
    number, everywhere, code = WAYS[how]
    line = ("train.epochs=20", *(("++hardware.workers=2",) if everywhere else ()))
    process = begin(tmp_path, data, *line)
    run = only_run(tmp_path)
    command = psutil.Process(process.pid)
    children = command.children(recursive=True)
    shown = len(run.history())
    tell([*reversed(children), command] if everywhere else [command], number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert run.status()["status"] == "interrupted"
    assert not temporaries(tmp_path)
    code, _, err = finish(tmp_path, data, *line)
    assert code == 0, err
    assert (run.status()["attempt"], run.status()["resumed"]) == (2, True)
    assert int(run.log.read_text().rsplit("resumed after epoch ", 1)[1].split()[0]) >= shown
    assert [row["epoch"] for row in run.history()] == [str(epoch) for epoch in range(1, 21)]


@pytest.mark.slow
@case(
    SECTION,
    have="SIGTERM of a training process alone, as earlyoom sends it",
    here="that run is interrupted, and named; the others go on, exit code 1",
)
def test_one_training_process_is_told_to_end(tmp_path, data):
    process = begin(tmp_path, data, *TWO)
    first, second = runs_in(tmp_path / "runs" / "default")
    os.kill(first.status()["pid"], signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    said = "the training process was killed by SIGTERM"
    assert f"{first.name}: {said}; the run is interrupted, and the same command resumes it" in err
    assert f"seed 0 is interrupted: {said}" in out
    assert (first.state(), second.state()) == ("interrupted", "done")
    assert finish(tmp_path, data, *TWO)[0] == 0
    assert first.status()["resumed"]


@pytest.mark.slow
@case(
    SECTION,
    have="SIGKILL of a training process, as when memory is short",
    here="one failed row with that reason; the others go on, exit code 1; the same command resumes it",
)
def test_one_training_process_is_killed(tmp_path, data):
    process = begin(tmp_path, data, *TWO)
    first, second = runs_in(tmp_path / "runs" / "default")
    os.kill(first.status()["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"{first.name} failed: the training process was killed by SIGKILL (out of memory?)" in err
    assert (first.state(), second.state()) == ("failed", "done")
    assert finish(tmp_path, data, *TWO)[0] == 0
    assert first.status()["resumed"]
