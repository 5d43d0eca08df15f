"""For every end of the child process, the run has one correct final status."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile

import pytest

from acmix_exp import child as processes
from acmix_exp.run import supervise
from acmix_exp.run.supervise import BUSY, DONE, FAILED, INTERRUPTED, Command

HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from acmix_exp.errors import CheckpointError
from acmix_exp.worker import serve
def work(job):
    run, resume = job.folder, job.request["resume"]
"""
TAIL = """
sys.exit(serve(lambda: work))
"""


@pytest.fixture
def child(monkeypatch):
    """Replace the training by a few lines of Python, which can use ``run`` (a Path) and ``resume``."""

    def put(code: str) -> None:
        code = HEAD + textwrap.indent(textwrap.dedent(code).strip(), "    ") + TAIL
        monkeypatch.setattr(processes, "command", lambda task, folder: [sys.executable, "-c", code, task, str(folder)])

    return put


RESULT = """(run / 'result.json').write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')"""


def command() -> Command:
    return Command()


def checkpoint(run):
    run.last.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(run.last, "w") as archive:
        archive.writestr("last/data.pkl", b"")
        archive.writestr("last/version", b"3")


def test_a_successful_child_is_done_and_stays_done(make_run, child):
    run = make_run()
    child(RESULT)
    assert supervise.supervise(run, command()) == DONE
    assert run.status()["status"] == "done"
    assert run.status()["attempt"] == 1
    child("raise SystemExit('a done run must not be started again')")
    assert supervise.supervise(run, command()) == DONE
    assert run.status()["attempt"] == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("raise ValueError('boom')", "ValueError: boom"),
        pytest.param("raise ValueError('rank 1: boom')", "ValueError: rank 1: boom", marks=pytest.mark.slow),
        ("raise RuntimeError('rank 1 was killed by SIGKILL (out of memory?)')", "rank 1 was killed by SIGKILL"),
        ("os._exit(3)", "exited with 3; see "),
        ("pass", "no result.json"),
    ],
)
def test_a_child_that_fails_is_one_failed_row_and_restarts(make_run, child, code, error):
    run = make_run()
    child(code)
    assert supervise.supervise(run, command()) == FAILED
    assert error in run.status()["error"]
    assert run.status()["pid"] is None
    checkpoint(run)
    child(f"assert resume == {'SIGKILL' in error}; {RESULT}")
    assert supervise.supervise(run, command()) == DONE
    assert run.status()["attempt"] == 2
    assert run.status()["error"] is None


DIVERGES = "from acmix_exp.errors import NonFiniteLoss; raise NonFiniteLoss('loss is not finite (inf) in epoch 1')"
STAYS = "raise SystemExit('a run that has diverged must not be started again')"


def test_a_run_that_diverged_stays_so(make_run, child):
    run = make_run()
    child(DIVERGES)
    assert supervise.supervise(run, command()) == FAILED
    assert (run.state(), run.has_diverged(), run.diverged_attempts()) == ("failed", True, 1)
    child(STAYS)
    assert supervise.supervise(run, command()) == FAILED
    assert (run.status()["attempt"], run.status()["diverged"]) == (1, 1)


def test_a_run_that_diverged_in_an_older_version_stays_so(make_run, child):
    run = make_run(status="failed", attempt=1, error="NonFiniteLoss: loss is not finite (nan) in epoch 3")
    child(STAYS)
    assert supervise.supervise(run, command()) == FAILED
    assert (run.status()["attempt"], run.diverged_attempts()) == (1, 1)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null"])
def test_a_result_without_a_finite_map_stays_so(make_run, child, value):
    run = make_run(status="done", attempt=1)
    (run.path / "result.json").write_text(f'{{"metrics": {{"map50_95": {value}, "map50": 0.7}}, "cost": {{}}}}')
    child(STAYS)
    assert supervise.supervise(run, command()) == FAILED
    assert (run.state(), run.diverged_attempts()) == ("failed", 1)


def test_attempts_that_diverged_are_counted_whatever_follows(make_run, child):
    """Older versions started such a run again, and what then followed may be in its status."""
    run = make_run(status="failed", attempt=2, error="the training process was killed by SIGKILL", diverged=2)
    child(DIVERGES)
    assert supervise.supervise(run, command()) == FAILED
    assert run.diverged_attempts() == 3
    run.set_status(status="interrupted", error=None)
    child(RESULT)
    assert supervise.supervise(run, command()) == DONE
    assert run.diverged_attempts() == 3


def test_a_run_that_several_cells_share_fails_once_in_a_command(make_run, child):
    run = make_run()
    one = Command(attempts={run: run.ended_attempts()})
    child("os._exit(3)")
    assert supervise.supervise(run, one) == FAILED
    child(RESULT)
    assert supervise.supervise(run, one) == FAILED
    assert run.status()["attempt"] == 1
    assert supervise.supervise(run, command()) == DONE


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_an_interrupted_run_resumes_and_says_so(make_run, child, status):
    run = make_run(status=status, attempt=1)
    checkpoint(run)
    child(f"assert resume; {RESULT}")
    assert supervise.supervise(run, command()) == DONE
    assert run.status()["resumed"] is True
    assert run.status()["attempt"] == 2


def test_a_truncated_checkpoint_is_reported_and_the_run_restarts(make_run, child, capsys):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    run.last.write_bytes(run.last.read_bytes()[:20])
    child(f"assert not resume; {RESULT}")
    assert supervise.supervise(run, command()) == DONE
    assert "last.pt is corrupt" in capsys.readouterr().err
    assert run.status()["resumed"] is False


def test_a_checkpoint_that_the_child_rejects_is_reported_and_the_run_restarts(make_run, child, capsys):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    child(f"""
        if resume:
            raise CheckpointError("no optimizer in it")
        {RESULT}
        """)
    assert supervise.supervise(run, command()) == DONE
    assert "can't be resumed" in capsys.readouterr().err


def test_a_checkpoint_that_the_machine_cannot_read_is_not_cleared_away(make_run, child, monkeypatch):
    """As on a network disk that is away for a moment: the file may be whole."""
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)

    def fails(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", fails)
    with pytest.raises(OSError, match="Input/output error"):
        supervise.supervise(run, command())
    monkeypatch.undo()
    assert run.status()["status"] == "interrupted"
    assert run.last.exists()


def test_a_run_whose_status_cannot_be_read_is_not_cleared_away(make_run, child):
    run = make_run(status="interrupted", attempt=1)
    checkpoint(run)
    (run.path / "status.json").write_text('{"status": "inter')
    child("raise SystemExit('must not be started')")
    with pytest.raises(OSError, match="cannot be read"):
        supervise.supervise(run, command())
    assert run.last.exists()


def test_a_done_run_without_its_result_restarts(make_run, child, capsys):
    run = make_run(status="done", attempt=1)
    child(RESULT)
    assert supervise.supervise(run, command()) == DONE
    assert "result.json" in capsys.readouterr().err


def test_a_locked_run_is_busy(make_run):
    run = make_run()
    with run.lock():
        assert supervise.supervise(run, command()) == BUSY


def signal_when_filled(path):
    while not (path.exists() and path.read_text()):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGALRM)


def test_an_interrupt_ends_the_child_with_its_own_children(make_run, child):
    run = make_run()
    child(
        """
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (run / "pids").write_text(f"{os.getpid()} {grandchild.pid}")
        time.sleep(60)
        """
    )

    def interrupt(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    threading.Thread(target=signal_when_filled, args=(run.path / "pids",), daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            supervise.supervise(run, command())
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert run.status()["status"] == "interrupted"
    time.sleep(0.2)
    assert not any(running(int(pid)) for pid in (run.path / "pids").read_text().split())


def test_a_stopped_command_ends_the_runs_of_its_other_threads(make_run, child):
    run, one = make_run(), command()
    child("time.sleep(60)")
    threading.Timer(0.5, one.stop.set).start()
    assert supervise.supervise(run, one) == INTERRUPTED
    assert run.status()["status"] == "interrupted"


def test_a_child_dies_with_the_process_that_spawned_it(tmp_path):
    grandchild = (
        "import os, sys, time; from acmix_exp.child import die_with_parent\n"
        "die_with_parent(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(60)"
    )
    code = f"import os, subprocess, sys\nsubprocess.run([sys.executable, '-c', {grandchild!r}, str(os.getpid())])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert processes.is_alive(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether a process is alive and not a zombie: in a container orphans may not be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
