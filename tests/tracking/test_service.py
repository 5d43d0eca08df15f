"""The process wandb-core: it ends with the run, and its loss does not fail the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tracking import wandb_file

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by /proc")

CHILD = """
import os, signal, sys, time
from pathlib import Path
from acmix_exp.config import ArmConfig, Config, LoggerConfig
from acmix_exp.tracking import Tracker
config = Config(name="n", arm=ArmConfig(name="mixed", insert=True), logger=LoggerConfig(mode="offline"))
tracker = Tracker.start(config, Path(sys.argv[1]), resumed=False, resolved={})
for epoch in (1, 2, 3):
    tracker.epoch({"epoch": epoch, "map50": epoch / 10})
if sys.argv[2] == "finish":
    tracker.finish({})
if sys.argv[2] == "go on":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    print("ready", flush=True)
    signal.sigwait([signal.SIGUSR1])
    for epoch in (4, 5):
        tracker.epoch({"epoch": epoch, "map50": epoch / 10})
    tracker.finish({"metrics": {"map50": 0.5, "per_class": {"a": {"map50": 0.5}}}})
    sys.exit(print(len(tracker.warnings), "warning"))
if sys.argv[2] != "leave":
    print("ready", flush=True)
    time.sleep(60)
"""


def services(parent: int) -> list[int]:
    """The wandb-core processes that process ``parent`` started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"wandb-core" in words[0] and str(parent).encode() in words:
                found.append(int(folder.name))
    return found


def gone(parent: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while services(parent):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start_child(run_dir: Path, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(run_dir), what]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)})


def test_killed_process(run_dir: Path) -> None:
    with start_child(run_dir, "wait") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert services(child.pid)
        time.sleep(0.5)  # more than the flush interval
        child.send_signal(signal.SIGKILL)
    assert gone(child.pid, 10.0)
    assert [found["epoch"] for found in wandb_file.read_run(run_dir).rows] == [1, 2, 3]


def test_finished_run_in_a_process_that_lives_on(run_dir: Path) -> None:
    with start_child(run_dir, "finish") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert gone(child.pid, 5.0)
        child.kill()


def test_process_that_ends_without_finishing(run_dir: Path) -> None:
    with start_child(run_dir, "leave") as child:
        child.wait(20)
    assert child.returncode == 0
    assert gone(child.pid, 10.0)
    assert len(wandb_file.read_run(run_dir).rows) == 3


@pytest.mark.slow
def test_service_killed_during_the_run(run_dir: Path) -> None:
    with start_child(run_dir, "go on") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        (service,) = services(child.pid)
        os.kill(service, signal.SIGKILL)
        began = time.monotonic()
        child.send_signal(signal.SIGUSR1)
        output = child.stdout.read()
        child.wait(20)
        assert time.monotonic() - began < 10.0
    assert output == "1 warning\n"
    assert child.returncode == 0, "the run is not affected"
    assert [found["epoch"] for found in wandb_file.read_run(run_dir).rows] == [1, 2, 3]
