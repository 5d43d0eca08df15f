"""Whatever stops a command, the same command goes on: at most the epoch at work is lost, and a restart says why."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from acmix_exp import child as processes
from acmix_exp.files import read_json, write_json
from acmix_exp.run import claim as claims
from acmix_exp.run import supervise
from acmix_exp.run.claim import SILENT_SECONDS, Claim
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import BUSY, DONE, FAILED, Command
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import cut, finish, only_run, start, temporaries, tiny_data, wait_until

SECTION = "Interruptions and disks"
LONG_DEAD = time.time() - 3 * 24 * 3600
CHILD = """
import sys
from acmix_exp.errors import CheckpointError
from acmix_exp.worker import serve
def work(job):
    run, resume = job.folder, job.request["resume"]
{body}
sys.exit(serve(lambda: work))
"""
RESULT = """(run / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')"""
RESUMES = f"assert resume\n{RESULT}"
STARTS_ANEW = f"assert not resume\n{RESULT}"


@pytest.fixture
def trains(monkeypatch):
    """``trains(body)``: what the training process does, in place of training."""

    def put(body: str) -> None:
        code = CHILD.format(body=textwrap.indent(body, "    "))
        monkeypatch.setattr(processes, "command", lambda task, folder: [sys.executable, "-c", code, task, str(folder)])

    return put


def checkpoint(run: Run) -> None:
    run.last.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(run.last, "w") as archive:
        archive.writestr("last/data.pkl", b"")


def supervised(run: Run) -> str:
    return supervise.supervise(run, Command())


def claimed_by(run: Run, owner: Owner, when: float) -> None:
    """Leave the run as a process that works on it does: its status, and a claim with a heartbeat of that time."""
    run.set_status(status="running", owner=owner.record())
    for path in (Claim(run.path, owner).path, run.path / "status.json"):
        os.utime(path, (when, when))


# A run that starts anew says so and why.

REASONS = {
    "no checkpoint yet": ("interrupted", None, "no checkpoint was saved"),
    "a cut last.pt": ("interrupted", "cut", "checkpoint cannot be read"),
    "a last.pt that its process refuses": ("interrupted", "refused", "checkpoint cannot be read"),
    "a run that failed": ("failed", "whole", "attempt 1 failed (ValueError: boom)"),
    "status done without result or weights": ("done", None, "no checkpoint was saved"),
}
for have in REASONS:
    add(Row(SECTION, have, "`restarted from scratch: REASON` in the terminal and in train.log"))


@pytest.mark.parametrize("have", REASONS)
def test_a_restart_says_why_in_the_terminal_and_in_the_log(make_run, trains, capsys, have):
    status, saved, reason = REASONS[have]
    run = make_run(status=status, attempt=1, error="ValueError: boom")
    if saved:
        checkpoint(run)
    if saved == "cut":
        cut(run.last)
    refuses = 'if resume:\n    raise CheckpointError("no optimizer in it")\n' if saved == "refused" else ""
    trains(refuses + STARTS_ANEW)
    assert supervised(run) == DONE
    line = f"restarted from scratch: {reason}"
    assert f"{run.name}: {line}" in capsys.readouterr().err
    assert run.log.read_text().startswith(line)
    assert (run.status()["attempt"], run.status()["resumed"]) == (2, False)


@case(
    SECTION,
    have="a status.json with values of another type, as of a newer version",
    here="those values are left out; the run goes on",
)
@pytest.mark.parametrize("value", [{"a": 1}, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("key", ["started", "diverged", "serves", "arm"])
def test_a_status_of_other_types(make_run, trains, key, value):
    run = make_run(status="failed", attempt=1, error="ValueError: boom", schema=9)
    write_json(run.path / "status.json", {**run.status(), key: value})
    assert key not in run.status()
    trains(STARTS_ANEW)
    assert supervised(run) == DONE


@case(
    SECTION,
    have="a last.pt that was cut or deleted beside a whole training.state",
    here="the run resumes: the state holds all that the next epoch needs",
)
@pytest.mark.parametrize("left", ["cut", "deleted"])
def test_the_state_of_the_training_suffices(make_run, trains, left):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    shutil.copy(run.last, run.last.with_name("training.state"))
    if left == "cut":
        cut(run.last)
    else:
        run.last.unlink()
    trains(RESUMES)
    assert supervised(run) == DONE
    assert run.status()["resumed"]


def test_a_first_start_says_nothing(make_run, trains, capsys):
    run = make_run()
    trains(STARTS_ANEW)
    assert supervised(run) == DONE
    assert capsys.readouterr().err == ""


@case(SECTION, have="killed after its result, before its status", here="done; not trained again")
def test_a_run_that_only_lacks_its_status_is_done(make_run, trains):
    run = make_run(status="running", attempt=1, owner=Owner.here().record())
    write_json(run.path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}})
    trains("raise SystemExit('it was started')")
    assert supervised(run) == DONE
    assert run.is_done()


# A status ``running`` that may not be true.

HERE = Owner.here()
DEAD = {
    "status running, of another host that is long dead": Owner("gone", 1, 5, "other", "other 1"),
    "status running, of this host before a reboot": replace(HERE, pid=1, boot="earlier", pids="earlier 1"),
    "status running, of a container with this host's name": replace(HERE, pid=1, pids=f"{HERE.boot} pid:[1]"),
    "status running, whose process number now is another's": replace(HERE, pid=os.getppid(), start=1),
    "status running, without owner and host": Owner(),
}
for have in DEAD:
    add(Row(SECTION, have, "its lock is free and it is silent: one line says so, and the run resumes"))


@pytest.mark.parametrize("have", DEAD)
def test_a_dead_run_is_taken_over_and_that_is_said(make_run, trains, capsys, have):
    run = make_run(attempt=1)
    checkpoint(run)
    claimed_by(run, DEAD[have], LONG_DEAD)
    assert run.state() == "interrupted"
    trains(RESUMES)
    assert supervised(run) == DONE
    err = capsys.readouterr().err
    assert err.startswith(f"{run.name}: was running as process ")
    assert f"(last heartbeat {datetime.fromtimestamp(LONG_DEAD):%Y-%m-%d %H:%M:%S}); resumes from weights/" in err
    assert len(err.splitlines()) == 1
    assert not claims.claims(run.path)


@case(
    SECTION,
    have="two machines on one folder, on a file system that locks per machine",
    here="a run that showed a heartbeat in the last 5 min is left to its machine, and waited for",
)
def test_a_living_run_of_another_machine_is_left_alone(make_run, trains):
    run = make_run(attempt=1)
    other = Owner("elsewhere", 1, 5, "other", "other 1")
    claimed_by(run, other, time.time())
    trains("raise SystemExit('it was started')")
    assert supervised(run) == BUSY
    assert (run.state(), run.status()["attempt"]) == ("running", 1)
    (claim,) = claims.claims(run.path)
    for path in (claim, run.path / "status.json"):
        os.utime(path, (time.time() - SILENT_SECONDS - 1,) * 2)
    trains(STARTS_ANEW)
    assert supervised(run) == DONE


def test_a_run_at_work_shows_heartbeats(make_run, trains, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.1)
    run = make_run()
    trains(
        "import time\ntime.sleep(1)\n(claim,) = run.glob('.claim-*')\n"
        f"assert time.time() - claim.stat().st_mtime < 0.9\n{RESULT}"
    )
    assert supervised(run) == DONE


def test_a_status_running_on_this_machine_resumes_at_once(make_run, trains):
    """Its process was killed a moment ago: the lock alone decides."""
    run = make_run(attempt=1)
    checkpoint(run)
    claimed_by(run, replace(HERE, pid=2**22 + 1, start=7), time.time())
    assert run.state() == "interrupted"
    trains(RESUMES)
    assert supervised(run) == DONE


def test_half_written_files_of_a_killed_process_are_removed(make_run, trains):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    left = run.path / "weights" / ".last.pt.x8d_k2a1"
    left.write_bytes(b"half")
    trains(f"assert not (run / 'weights' / '{left.name}').exists()\n(run / '.images.making-ab').mkdir()\n{RESUMES}")
    assert supervised(run) == DONE
    assert not temporaries(run.path)


# Real trainings.


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """A folder with one finished run of two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    code, _, err = finish(folder, data, "train.epochs=2")
    assert code == 0, err
    return folder


GOES_ON = "named; nothing is trained again"
CUT = {  # file of a finished run: what the next command says, and whether it starts the run once more
    "status.json": ("status.json is corrupt", True, "named; evaluated again from its checkpoint, not trained"),
    "result.json": ("result.json is truncated", True, "named; evaluated again from its checkpoint, not trained"),
    "provenance.json": ("provenance.json could not be read", False, "named; written anew from the plan"),
    "config.yaml": ("config.yaml could not be read", False, "named; written anew from the plan"),
    "history.csv": ("history.csv cannot be read", False, GOES_ON),
    "outcomes.npz": ("outcomes.npz cannot be read", False, GOES_ON),
    "weights/last.pt": ("weights/last.pt cannot be read", False, GOES_ON),
}
for name, (_, _, here) in CUT.items():
    add(Row(SECTION, f"a cut {name} of a finished run", here))


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_a_cut_file_of_a_finished_run_is_named(tmp_path, data, trained, name):
    says, again, _ = CUT[name]
    shutil.copytree(trained / "runs", tmp_path / "runs")
    run = only_run(tmp_path)
    score = run.result()["metrics"]["map50_95"]
    cut(run.path / name)
    code, _, err = finish(tmp_path, data, "train.epochs=2")
    assert code == 0, err
    assert says in err
    assert run.result()["metrics"]["map50_95"] == score
    assert run.status()["resumed"] == again
    rows = read_json(tmp_path / "runs" / "default" / "summary.json")["tables"][0]["rows"]
    assert rows[0]["n"] == 1


@pytest.mark.slow
@case(
    SECTION, have="a cut history.csv of a stopped run", here="restored from the checkpoint; train.log names the epochs"
)
def test_a_cut_history_is_restored(tmp_path, data, trained):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    run = only_run(tmp_path)
    whole = run.history()
    cut(run.path / "history.csv")
    (run.path / "result.json").unlink()
    run.set_status(status="interrupted")
    code, _, err = finish(tmp_path, data, "train.epochs=2")
    assert code == 0, err
    assert run.history() == whole
    assert "but not in history.csv" in run.log.read_text()


def kill(process, run: Run, how: str) -> None:
    if how == "SIGKILL of the training process":
        pid = (run.status() or {}).get("pid")
        if pid:
            os.kill(pid, signal.SIGKILL)
    elif how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how))


WAYS = ("Ctrl-C", "SIGTERM", "SIGHUP", "SIGKILL", "SIGKILL of the training process")
for way in WAYS:
    add(Row(SECTION, f"{way} around an epoch's end", "the same command resumes; every epoch that was shown is kept"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("how", WAYS)
def test_no_shown_epoch_is_lost(tmp_path, data, how, moment):
    """Stopped at 20 moments after the first epoch was shown, some of which are in the middle of a save."""
    process = start(tmp_path, data, "train.epochs=4")
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), process)
    run = only_run(tmp_path)
    time.sleep(0.07 * moment + 0.014 * WAYS.index(how))
    shown = len(run.history())
    kill(process, run, how)
    process.communicate(timeout=30)
    expected = {"Ctrl-C": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGKILL": -9}.get(how, 1)
    assert process.returncode == expected
    assert how != "Ctrl-C" or not temporaries(run.path)
    code, _, err = finish(tmp_path, data, "train.epochs=4")
    assert code == 0, err
    assert [row["epoch"] for row in run.history()] == ["1", "2", "3", "4"]
    assert run.status()["attempt"] == 2
    assert run.status()["resumed"]
    assert int(run.log.read_text().rsplit("resumed after epoch ", 1)[1].split()[0]) >= shown
    assert not temporaries(run.path)


@pytest.mark.slow
@case(SECTION, have="Ctrl-C two or three times", here="the same as once: the cleaning up is not cut off")
def test_three_times_ctrl_c(tmp_path, data):
    process = start(tmp_path, data, "train.epochs=60")
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), process)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert only_run(tmp_path).status()["status"] == "interrupted"


@pytest.mark.slow
@case(SECTION, have="Ctrl-Z and fg", here="the run goes on meanwhile, and the command afterwards")
def test_suspended_and_continued(tmp_path, data):
    process = start(tmp_path, data, "train.epochs=3")
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert only_run(tmp_path).status()["attempt"] == 1


@pytest.mark.slow
@case(
    SECTION,
    have="a second command on a run that is at work",
    here="it says who holds the run, waits, and trains nothing",
)
def test_a_second_command_waits_and_says_so(tmp_path, data):
    first = start(tmp_path, data, "train.epochs=30")
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), first)
    code, _, err = finish(tmp_path, data, "train.epochs=30")
    assert code == 0, err
    assert first.wait(60) == 0
    first.communicate()
    assert f"process {first.pid} on {HERE.host} is at work on it; waiting for that" in err
    assert only_run(tmp_path).status()["attempt"] == 1


@pytest.mark.slow
@case(SECTION, have="a terminal closed under nohup", here="the command goes on")
def test_nohup_is_heeded(tmp_path, data):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = start(tmp_path, data, "train.epochs=3", preexec_fn=ignore)
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err


@pytest.mark.slow
@case(SECTION, have="Ctrl-C while planning", here="`stopped; nothing was started`, exit code 130, nothing is left")
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_stopped_before_the_first_run_nothing_is_left(tmp_path, data, seconds):
    process = start(tmp_path, data, "train.epochs=3")
    time.sleep(seconds)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert process.returncode != 130 or err.splitlines()[-1] == "acmix_exp: stopped; nothing was started"
    assert not temporaries(tmp_path)


def test_a_machine_fault_leaves_the_run_to_be_resumed(make_run, trains):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    trains("import errno, os\nraise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run / 'weights'))")
    with pytest.raises(OSError, match=r"No space left on device: .*weights"):
        supervised(run)
    assert run.status()["status"] == "interrupted"
    assert "No space left on device" in run.status()["error"]
    trains(RESUMES)
    assert supervised(run) == DONE
    assert run.status()["error"] is None


def test_any_other_fault_is_a_failed_run(make_run, trains):
    run = make_run()
    trains("raise FileNotFoundError('a.png')")
    assert supervised(run) == FAILED
