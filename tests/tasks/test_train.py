"""The tables during a sweep: written after something has ended, once per interval."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.config import Config, HardwareConfig, SlurmConfig
from acmix_exp.errors import STOPS, ConfigError
from acmix_exp.report import write
from acmix_exp.report.planned import Asked
from acmix_exp.run.directory import Run
from acmix_exp.sweep.planning import Cell, Plan
from acmix_exp.tasks import train


@pytest.fixture
def plan(tmp_path):
    """Three pending runs."""
    runs = [Run(tmp_path / "runs" / "test" / f"mixed-s{seed}-00000000") for seed in range(3)]
    for run in runs:
        run.path.mkdir(parents=True)
    return Plan("test", runs[0].path.parent, [Cell(Config(seed=0), "mixed", {}, "d", {}, run) for run in runs], [])


class Intervals:
    """An executor whose runs end in the given intervals: one list of runs per call of ``wait``."""

    def __init__(self, *ending: list[Run]) -> None:
        self.ending = list(ending)

    def wait(self, seconds: float) -> bool:
        assert seconds == train.SUMMARY_SECONDS == 20
        for run in self.ending.pop(0):
            Path(run.path / "status.json").write_text(json.dumps({"status": "failed", "error": "out of memory"}))
        return not self.ending


def test_the_summary_is_written_only_if_a_run_ended_in_the_interval(plan, monkeypatch):
    written = []
    monkeypatch.setattr(write, "write_summary", lambda folder, asked: written.append((folder, asked)))
    first, second, third = plan.runs
    train._wait(Intervals([], [first, second], [], [], [third]), plan)
    assert written == [(plan.folder, Asked())]


def test_a_summary_that_cannot_be_written_does_not_end_the_sweep(plan, monkeypatch):
    def write_summary(folder, asked):
        raise OSError("disk full")

    monkeypatch.setattr(write, "write_summary", write_summary)
    train._wait(Intervals([plan.runs[0]], []), plan)


class Cluster:
    """An executor whose jobs outlive the command; ``wait`` does what it is told."""

    def __init__(self, wait=lambda seconds: True, line: str | None = "detached; scancel 7") -> None:
        self.wait, self.line, self.started = wait, line, False

    def start(self) -> None:
        self.started = True

    def interrupt(self) -> str | None:
        return self.line

    def at_once(self) -> int:
        return 1

    def notes(self) -> dict[str, str]:
        return {}


@pytest.fixture
def trained(plan, monkeypatch):
    """``trained(executor, ...)``: the exit code of a sweep, and whether tables were written."""

    def run(executor, **slurm):
        concluded = []
        config = Config(hardware=HardwareConfig("slurm", slurm=SlurmConfig(**slurm)))
        cells = [replace(cell, config=config) for cell in plan.cells]
        monkeypatch.setattr(train.executors, "create", lambda runs, hardware: executor)
        monkeypatch.setattr(train, "prepare", lambda plan: None)
        monkeypatch.setattr(train, "_conclude", lambda *arguments, hint: concluded.append(arguments))
        before = {number: signal.getsignal(number) for number in STOPS}
        try:
            return train.train(replace(plan, cells=cells)), bool(concluded)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    return run


def test_ctrl_c_detaches_from_a_cluster(trained, capsys):
    def wait(seconds):
        raise KeyboardInterrupt

    assert trained(Cluster(wait)) == (130, True)
    assert "acmix_exp: detached; scancel 7" in capsys.readouterr().err


def test_submitting_alone_returns_at_once(trained, capsys):
    assert trained(Cluster(wait=None), wait=False) == (0, False)
    assert "acmix_exp: detached; scancel 7" in capsys.readouterr().err


@pytest.mark.parametrize("wait", [True, False])
def test_runs_that_have_no_result_and_no_job_left_are_a_failure(plan, trained, monkeypatch, wait):
    assert trained(Cluster(line=None), wait=wait) == (1, True)
    monkeypatch.setattr(Run, "state", lambda run: "done")
    assert trained(Cluster(line=None), wait=wait) == (0, True)


def test_nothing_is_left_of_a_command_that_the_cluster_refuses(plan, trained, monkeypatch, tmp_path):
    new = Run(plan.folder / "mixed-s9-00000000")
    cluster = Cluster()

    def start():
        new.path.mkdir()
        raise ConfigError("hardware=slurm: sbatch refuses: Invalid account")

    cluster.start = start
    plan.cells.append(replace(plan.cells[0], run=new))
    with pytest.raises(ConfigError):
        trained(cluster)
    assert not new.path.exists()
    assert all(run.path.is_dir() for run in plan.runs[:-1])


def test_an_engine_is_let_go_if_the_runs_cannot_be_prepared(plan, monkeypatch):
    """It may have started a cluster."""
    let_go = []

    def prepare(plan):
        raise OSError("disk full")

    cluster = Cluster()
    cluster.interrupt = lambda: let_go.append(True)
    monkeypatch.setattr(train.executors, "create", lambda runs, hardware: cluster)
    monkeypatch.setattr(train, "prepare", prepare)
    with pytest.raises(OSError, match="disk full"):
        train.train(plan)
    assert let_go == [True]
    assert not cluster.started
