"""A job that supervises one run, as on a cluster's node, and every way in which it may be stopped.

The training process is played by one that saves a checkpoint and then waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acmix_exp import child as processes
from acmix_exp.child import is_alive
from acmix_exp.run import supervise
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import BUSY, DONE, FAILED, INTERRUPTED, Command

CHILD = """
import os, sys, time, zipfile
from acmix_exp.run import claim
from acmix_exp.worker import serve
claim.BEAT_SECONDS = 0.1
def work(job):
    run = job.folder
    if (run / "saved").exists():
        assert job.request["resume"]
        (run / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')
        return
    (run / "weights").mkdir()
    with zipfile.ZipFile(run / "weights" / "last.pt", "w") as archive:
        archive.writestr("last/data.pkl", b"")
    (run / "saved").touch()
    while not (run / "finish").exists():
        time.sleep(0.05)
    (run / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')
sys.exit(serve(lambda: work))
"""
JOB = f"""
import sys
from pathlib import Path
from acmix_exp import child
from acmix_exp.run import claim
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import Command, supervise
child.command = lambda task, folder: [sys.executable, "-c", {CHILD!r}, task, str(folder)]
claim.BEAT_SECONDS = 0.1
host = sys.argv[2]
if host:
    claim.locked = lambda path, wait, locked=claim.locked: locked(path.with_name(f".{{host}}{{path.name}}"), wait=wait)
    command = Command(Owner(host, 1, 5, f"boot {{host}}", f"pids {{host}}"))
else:
    command = Command()
with command.stopped_by_signals() as received:
    print(supervise(Run(Path(sys.argv[1])), command), *received)
"""
TERM, USR1, USR2, HUP, KILL = signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGKILL


@pytest.fixture
def job():
    """``job(run, host)``: start a job that supervises the run, on a host whose locks no other sees."""
    started = []

    def start(run: Run, host: str = "", **options) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", JOB, str(run.path), host]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def trains(monkeypatch):
    monkeypatch.setattr(processes, "command", lambda task, folder: [sys.executable, "-c", CHILD, task, str(folder)])


def wait_for(path: Path, process: subprocess.Popen[str]) -> int:
    """Wait until the training process has made this file; returns its number."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return Run(path.parent).status()["pid"]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


STOPPED = {  # each signal from one sender; the others, which differ in who gets it, are slow
    "scancel, which reaches every process": ((TERM,), (TERM,)),
    "scancel --batch, which reaches the job's own process": ((TERM,), ()),
    "SIGTERM of the training process": ((), (TERM,)),
    "a time limit ahead, SIGUSR1": ((USR1,), ()),
    "a time limit ahead, SIGUSR1 to every process": ((USR1,), (USR1,)),
    "preemption, SIGUSR2 to every process": ((USR2,), (USR2,)),
    "preemption, SIGTERM after SIGUSR2": ((USR2, TERM), (USR2, TERM)),
    "a lost terminal": ((HUP,), ()),
}


QUICK = (
    "scancel, which reaches every process",
    "SIGTERM of the training process",
    "a time limit ahead, SIGUSR1",
    "preemption, SIGTERM after SIGUSR2",
    "a lost terminal",
)


@pytest.mark.parametrize("how", [pytest.param(how, marks=() if how in QUICK else pytest.mark.slow) for how in STOPPED])
def test_what_a_signal_ends_is_interrupted_and_resumes(make_run, job, trains, how):
    to_job, to_child = STOPPED[how]
    run = make_run()
    process = job(run)
    pid = wait_for(run.path / "saved", process)
    for number in to_child:
        os.kill(pid, number)
    for number in to_job:
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert out.split()[0] == INTERRUPTED, err
    assert {int(number) for number in out.split()[1:]} <= set(to_job)
    assert "Traceback" not in err
    status = run.status()
    assert (status["status"], status["pid"], status["attempt"]) == (INTERRUPTED, None, 1)
    assert gone(pid)
    assert supervise.supervise(run, Command()) == DONE
    assert (run.status()["attempt"], run.status()["resumed"]) == (2, True)


def test_a_signal_that_only_the_training_process_got_is_named(make_run, job):
    run = make_run()
    process = job(run)
    os.kill(wait_for(run.path / "saved", process), TERM)
    _, err = process.communicate(timeout=30)
    said = "the training process was killed by SIGTERM"
    assert err == f"{run.name}: {said}; the run is interrupted, and the same command resumes it\n"
    assert run.status()["error"] == said


@pytest.mark.parametrize("number", [USR1, pytest.param(USR2, marks=pytest.mark.slow)])
def test_the_training_process_leaves_a_cluster_s_warning_to_its_parent(make_run, job, number):
    run = make_run()
    process = job(run)
    os.kill(wait_for(run.path / "saved", process), number)
    time.sleep(0.2)
    (run.path / "finish").touch()
    out, err = process.communicate(timeout=30)
    assert out.split() == [DONE], err


def test_out_of_memory_is_a_failed_run_that_can_be_resumed(make_run, job, trains):
    run = make_run()
    process = job(run)
    os.kill(wait_for(run.path / "saved", process), KILL)
    assert process.communicate(timeout=30)[0].split() == [FAILED]
    assert run.status()["error"] == "the training process was killed by SIGKILL (out of memory?)"
    assert supervise.supervise(run, Command()) == DONE
    assert run.status()["resumed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "outcome", "resumed"), [(TERM, INTERRUPTED, True), (KILL, FAILED, True), (signal.SIGSEGV, FAILED, False)]
)
def test_the_end_of_a_loader_s_worker_is_that_of_the_run(make_run, trains, monkeypatch, number, outcome, resumed):
    """It is sent to every process of a job, or the kernel chose this one when memory was short."""
    dies = f"""
    import torch
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, index):
            os.kill(os.getpid(), {int(number)})
            time.sleep(5)
    (run / "saved").touch()
    with zipfile.ZipFile(run / "weights" / "last.pt", "w") as archive:
        archive.writestr("last/data.pkl", b"")
    try:
        next(iter(torch.utils.data.DataLoader(Data(), num_workers=1)))
    except RuntimeError as error:
        from acmix_exp.run.training import _explained
        raise _explained(error, None, None)
"""
    code = CHILD.replace('    (run / "weights").mkdir()\n', f'    (run / "weights").mkdir()\n{dies}')
    run = make_run()
    with monkeypatch.context() as patch:
        patch.setattr(processes, "command", lambda task, folder: [sys.executable, "-c", code, task, str(folder)])
        assert supervise.supervise(run, Command()) == outcome
    assert "is killed by signal: " in run.status()["error"]
    (run.path / "saved").unlink(missing_ok=not resumed)
    assert (supervise._scratch_reason(run, run.status()) is None) == resumed


def test_a_job_that_is_killed_takes_its_training_along_and_is_resumed(make_run, job, trains):
    run = make_run()
    process = job(run)
    pid = wait_for(run.path / "saved", process)
    process.send_signal(KILL)
    process.communicate()
    assert gone(pid)
    assert run.status()["status"] == "running"
    assert run.state() == INTERRUPTED
    assert supervise.supervise(run, Command()) == DONE
    assert run.status()["resumed"]


def test_the_owner_of_a_job_is_written_down(make_run, job):
    run = make_run()
    process = job(run, env={**os.environ, "SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "2"})
    wait_for(run.path / "saved", process)
    owner = run.status()["owner"]
    here = Owner.here()
    assert owner == {
        "host": here.host,
        "pid": process.pid,
        "start": processes.start_time(process.pid),
        "boot": here.boot,
        "pids": here.pids,
        "job": "17",
        "requeues": 2,
    }
    assert str(Owner.of(run.status())) == f"process {process.pid} on {here.host} (job 17)"


@pytest.mark.parametrize(
    "told_to_end",
    [
        pytest.param(False, id="", marks=pytest.mark.slow),
        pytest.param(True, id="and is told to end when it comes back"),
    ],
)
def test_the_owner_stopped_for_minutes_finds_its_run_taken_over(make_run, job, trains, capsys, told_to_end):
    """A host that is gone for the others, and comes back: it stops, and the other's work stays."""
    run = make_run()
    process = job(run, "node1")
    pid = wait_for(run.path / "saved", process)
    assert supervise.supervise(run, Command()) == BUSY
    for each in (pid, process.pid):
        os.kill(each, signal.SIGSTOP)
    time.sleep(0.3)
    (claim,) = run.path.glob(".claim-*")
    for path in (claim, run.path / "status.json"):
        os.utime(path, (time.time() - 400,) * 2)
    assert run.state() == INTERRUPTED
    assert supervise.supervise(run, Command()) == DONE
    assert "was running as process 1 on node1, which has ended (last heartbeat " in capsys.readouterr().err
    status = run.status()
    if told_to_end:
        process.send_signal(TERM)
    for each in (pid, process.pid):
        os.kill(each, signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert out.split()[0] == BUSY
    assert "had shown no heartbeat; it is left to that one" in err
    assert gone(pid)
    assert run.status() == status
    assert run.is_done()


def test_a_suspended_command_whose_training_goes_on_is_not_taken_over(make_run, job):
    """Ctrl-Z: its training process shows the heartbeat."""
    run = make_run()
    process = job(run, "node1")
    wait_for(run.path / "saved", process)
    process.send_signal(signal.SIGSTOP)
    (claim,) = run.path.glob(".claim-*")
    os.utime(claim, (0, 0))
    time.sleep(0.5)
    assert run.silence() < 100
    assert supervise.supervise(run, Command()) == BUSY
    process.send_signal(signal.SIGCONT)
    process.send_signal(TERM)
    assert process.communicate(timeout=30)[0].split()[0] == INTERRUPTED
