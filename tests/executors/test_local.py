"""Runs on threads of this process: how many at once, what another process holds, and how all of it is interrupted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from acmix_exp.config import HardwareConfig
from acmix_exp.executors import create, local
from acmix_exp.files import write_json
from acmix_exp.run import packing
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import BUSY, DONE, INTERRUPTED


@pytest.fixture
def supervised(monkeypatch):
    """Names of the runs in the order they were supervised; ``supervised.by(function)`` says what becomes of each."""

    class Supervised(list):
        def by(self, function) -> None:
            def supervise(run, command):
                self.append(run.name)
                return function(run, command)

            monkeypatch.setattr(local, "supervise", supervise)

    monkeypatch.setattr(local, "BUSY_SECONDS", 0.01)
    return Supervised()


def executor_of(count: int, runs_at_once: int):
    return create([Run(Path(f"run{number}")) for number in range(count)], HardwareConfig(runs_at_once=runs_at_once))


@pytest.mark.parametrize(("runs_at_once", "most"), [(1, 1), (3, 3), (9, 5)])
def test_runs_at_once_and_every_run_once(supervised, runs_at_once, most):
    together, peak, lock = 0, 0, threading.Lock()
    everyone = threading.Barrier(most)

    def work(run, command):
        nonlocal together, peak
        with lock:
            together += 1
            peak = max(peak, together)
        if len(supervised) <= most:
            everyone.wait(timeout=10)
        with lock:
            together -= 1
        return DONE

    supervised.by(work)
    executor = executor_of(5, runs_at_once)
    executor.start()
    assert executor.wait(10)
    assert sorted(supervised) == [f"run{number}" for number in range(5)]
    assert peak == most


def test_auto_begins_with_one_run_and_grows_after_its_first_epoch(supervised, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(packing, "largest", lambda hardware: 3)
    monkeypatch.setattr(local, "PACKING_SECONDS", 0.02)
    runs = [Run(tmp_path / f"run{number}") for number in range(6)]
    three = threading.Barrier(3)
    at_once = []

    def work(run, command):
        at_once.append(command.runs_at_once(HardwareConfig()))
        if run.name == "run0":
            time.sleep(0.2)
            assert supervised == ["run0"]
            memory = {"used_mb": 1000, "total_mb": 9000, "time": time.time()}
            run.path.mkdir()
            write_json(run.path / "provenance.json", {"memory": memory})
        if len(supervised) <= 3:
            three.wait(timeout=10)
        return DONE

    supervised.by(work)
    executor = create(runs, HardwareConfig(device="cpu", runs_at_once="auto"))
    executor.start()
    assert executor.at_once() == 1
    assert executor.wait(10)
    assert executor.at_once() == 3
    assert at_once == [1, 3, 3, 3, 3, 3]
    assert "hardware.runs_at_once=auto: 3 at once; run0 takes 1.0 of 8.8 GB" in capsys.readouterr().err


def test_auto_does_not_trust_the_memory_of_an_earlier_command(supervised, monkeypatch, tmp_path):
    monkeypatch.setattr(packing, "largest", lambda hardware: 3)
    monkeypatch.setattr(local, "PACKING_SECONDS", 0.02)
    run = Run(tmp_path / "run0")
    run.path.mkdir()
    write_json(run.path / "provenance.json", {"memory": {"used_mb": 1, "total_mb": 9000, "time": time.time() - 60}})
    supervised.by(lambda run, command: command.stop.wait(10) and DONE)
    executor = create([run, Run(tmp_path / "run1")], HardwareConfig(device="cpu", runs_at_once="auto"))
    executor.start()
    assert not executor.wait(0.2)
    assert executor.at_once() == 1
    executor.interrupt()
    assert supervised == ["run0"]


def test_waiting_ends_when_the_time_is_up(supervised):
    supervised.by(lambda run, command: command.stop.wait(10) and DONE)
    executor = executor_of(2, 1)
    executor.start()
    assert not executor.wait(0.05)
    executor.interrupt()
    assert supervised == ["run0"]


def test_a_run_held_by_another_process_is_taken_last(supervised, monkeypatch):
    held = {"run0": 2, "run1": 1}  # how many looks until the other process lets go

    def work(run, command):
        if held.get(run.name):
            held[run.name] -= 1
            return BUSY
        return DONE

    supervised.by(work)
    executor = executor_of(3, 1)
    executor.start()
    assert executor.wait(10)
    assert supervised == ["run0", "run1", "run2", "run0", "run1", "run0"]


def test_a_run_finished_by_another_process_is_not_started(supervised, monkeypatch):
    supervised.by(lambda run, command: BUSY)
    monkeypatch.setattr(Run, "state", lambda run: "done")
    executor = executor_of(2, 2)
    executor.start()
    assert executor.wait(10)
    assert sorted(supervised) == ["run0", "run1"]


def test_who_holds_a_run_is_said_once(supervised, monkeypatch, capsys, tmp_path):
    """Not of a process that only prepares it, or has not yet begun."""
    run, looks = Run(tmp_path), []
    run.set_status(status="pending")

    def work(run, command):
        looks.append(run)
        if len(looks) == 2:
            run.set_status(status="running", owner=Owner("node7", 12, job="345").record())
        return BUSY if len(looks) < 5 else DONE

    supervised.by(work)
    executor = create([run], HardwareConfig())
    executor.start()
    assert executor.wait(10)
    assert len(looks) == 5
    said = "process 12 on node7 (job 345) is at work on it; waiting for that"
    assert capsys.readouterr().err == f"{run.name}: {said}\n"


def test_an_interrupt_ends_running_runs_and_starts_no_more(supervised):
    ended = []

    def work(run, command):
        command.stop.wait(10)
        time.sleep(0.05)
        ended.append(run.name)
        return INTERRUPTED

    supervised.by(work)
    executor = executor_of(4, 2)
    executor.start()
    assert not executor.wait(0.05)
    executor.interrupt()
    assert sorted(ended) == sorted(supervised) == ["run0", "run1"]
    assert executor.wait(0)


def test_an_error_of_the_executor_itself_is_raised_while_it_is_waited_for(supervised):
    def work(run, command):
        raise OSError("disk full")

    supervised.by(work)
    executor = executor_of(2, 1)
    executor.start()
    with pytest.raises(OSError, match="disk full"):
        executor.wait(10)
    executor.interrupt()
