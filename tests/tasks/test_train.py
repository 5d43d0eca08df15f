"""The tables during a sweep: written after something has ended, once per interval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acmix_exp.config import Config
from acmix_exp.report import write
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
    monkeypatch.setattr(write, "write_summary", lambda folder, reference: written.append((folder, reference)))
    first, second, third = plan.runs
    train._wait(Intervals([], [first, second], [], [], [third]), plan)
    assert written == [(plan.folder, "baseline")]


def test_a_summary_that_cannot_be_written_does_not_end_the_sweep(plan, monkeypatch):
    def write_summary(folder, reference):
        raise OSError("disk full")

    monkeypatch.setattr(write, "write_summary", write_summary)
    train._wait(Intervals([plan.runs[0]], []), plan)
