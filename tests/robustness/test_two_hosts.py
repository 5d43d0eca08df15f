"""The same command on two hosts that share a folder, whose locks do not reach each other.

Both are played by processes of this machine: of another name, with lock files of their own, and a time of seconds, not
minutes, after which a silent host is dead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from acmix_exp.files import read_json
from acmix_exp.run.claim import PREFIX
from acmix_exp.run.directory import Run, runs_in
from tests.robustness.cases import case
from tests.robustness.commands import COMMON, temporaries, tiny_data, wait_until

SECTION = "Interruptions and disks"
SILENT = 8
HOST = f"""
import sys
from acmix_exp.files import locked
from acmix_exp.run import claim, owner
host = sys.argv.pop(1)
owner._kernel = lambda: (f"boot {{host}}", f"pids {{host}}")
owner.platform.node = lambda: host
claim.locked = lambda path, wait: locked(path.with_name(f".{{host}}{{path.name}}"), wait=wait)
claim.BEAT_SECONDS, claim.SILENT_SECONDS = 0.5, {SILENT}
from acmix_exp import cli
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def on(tmp_path, data):
    """``on(host, arguments)``: start a command there."""
    started = []

    def start(host: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOST, host, *COMMON, "logger=disabled", f"dataset.path={data}", *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=tmp_path, text=True, stdout=pipe, stderr=pipe))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def runs(folder: Path) -> list[Run]:
    return runs_in(folder / "runs" / "default")


def owner_of(run: Run) -> str:
    return ((run.status() or {}).get("owner") or {}).get("host", "")


@pytest.mark.slow
@case(
    SECTION,
    have="the same command typed on two machines that share the folder",
    here="they share the runs: each takes those that nobody works on, and waits for the others",
)
def test_two_hosts_share_the_runs(tmp_path, on):
    line = ("-m", "seed=0,1,2,3", "train.epochs=2", "report.auto=true")
    both = [on("a", *line), on("b", *line)]
    ends = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert all("Traceback" not in err for _, err in ends)
    shared = runs(tmp_path)
    assert [(run.state(), run.status()["attempt"]) for run in shared] == [("done", 1)] * 4
    assert {owner_of(run) for run in shared} == {"a", "b"}
    folder = tmp_path / "runs" / "default"
    assert read_json(folder / "summary.json")["tables"][0]["rows"][0]["n"] == 4
    assert (folder / "report.html").is_file()
    assert not temporaries(tmp_path)


@pytest.mark.slow
@case(
    SECTION,
    have="a machine is lost that shares a folder with another one",
    here="its run is taken for interrupted after 5 min without a heartbeat; the other command says so and resumes it",
)
def test_the_run_of_a_lost_host_is_taken_over(tmp_path, on):
    line = ("train.epochs=30", "report.auto=false")
    first = on("a", *line)
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), first)
    (run,) = runs(tmp_path)
    second = on("b", *line)
    said: list[str] = []
    while not said or "is at work on it; waiting for that" not in said[-1]:
        said.append(second.stderr.readline())
        assert said[-1], said
    assert said[-1] == f"{run.name}: process {first.pid} on a is at work on it; waiting for that\n"
    lost = psutil.Process(first.pid)
    children = lost.children(recursive=True)
    for process in (lost, *children):
        process.send_signal(signal.SIGKILL)
    first.communicate()
    shown, since = len(run.history()), time.monotonic()
    wait_until(lambda: owner_of(run) == "b", second, seconds=60)
    assert time.monotonic() - since > SILENT - 2
    _, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    assert f"{run.name}: was running as process {first.pid} on a, which has ended (last heartbeat " in err
    assert (run.status()["attempt"], run.status()["resumed"]) == (2, True)
    assert [row["epoch"] for row in run.history()] == [str(epoch) for epoch in range(1, 31)]
    assert int(run.log.read_text().rsplit("resumed after epoch ", 1)[1].split()[0]) >= shown
    assert not list(run.path.glob(f"{PREFIX}*"))


@pytest.mark.slow
@case(
    SECTION,
    have="Ctrl-C on one of two machines that share a folder",
    here="its run is interrupted, and the other machine's command resumes it",
)
def test_an_interrupted_run_goes_on_on_the_other_host(tmp_path, on):
    line = ("train.epochs=30", "report.auto=false")
    first = on("a", *line)
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), first)
    (run,) = runs(tmp_path)
    second = on("b", *line)
    while "waiting for that" not in (text := second.stderr.readline()):
        assert text
    os.kill(first.pid, signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 130
    _, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    assert owner_of(run) == "b"
    assert (run.status()["attempt"], run.status()["resumed"]) == (2, True)


WITHOUT_LOCKS = """
import errno, fcntl
def flock(file, mode):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
import sys
from acmix_exp import cli
sys.exit(cli.main())
"""


@pytest.mark.slow
@case(
    SECTION,
    have="runs_dir on a file system without locks, or whose locks do not reach other machines",
    here="named at the start; each run is claimed by a file in its folder, so that one process works on it",
)
def test_a_file_system_without_locks(tmp_path, data):
    arguments = (*COMMON, "logger=disabled", "report.auto=false", f"dataset.path={data}", "train.epochs=1")
    command = [sys.executable, "-c", WITHOUT_LOCKS, *arguments, "-m", "seed=0,1"]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, cwd=tmp_path, text=True, stdout=pipe, stderr=pipe) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        (said,) = [line for line in err.splitlines() if "without locks" in line]
        assert said == (
            "acmix_exp: runs/default is on a file system without locks (No locks available); "
            "each run is claimed by a file in its folder"
        )
    assert [(run.state(), run.status()["attempt"]) for run in runs(tmp_path)] == [("done", 1)] * 2
    assert not temporaries(tmp_path)
