"""Of all processes that claim a run, on one host or on several whose locks do not reach each other, one works on it.

Another host is played by an owner of another name, and its locks by lock files of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.run import claim as claims
from acmix_exp.run.claim import SILENT_SECONDS, Claim, Taken, claimed, turn
from acmix_exp.run.owner import Owner

HERE = Owner.here()
THERE = Owner("there", 1, 5, "boot there", "pids there")
HOST = """
import sys, time
from pathlib import Path
from acmix_exp.files import locked
from acmix_exp.run import claim
from acmix_exp.run.owner import Owner
folder, host = Path(sys.argv[1]), sys.argv[2]
claim.locked = lambda path, wait: locked(path.with_name(f".{host}{path.name}"), wait=wait)
owner = Owner(host, 1, 5, f"boot {host}", f"pids {host}")
"""


def start(code: str, *arguments: object, **options) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


@pytest.fixture
def no_reach(monkeypatch):
    """Locks that keep nobody of another host away."""
    monkeypatch.setattr(claims, "locked", lambda path, wait: nullcontext(True))


def left(folder: Path, owner: Owner, silence: float) -> Path:
    """The claim of a process that showed its last heartbeat so many seconds ago."""
    path = Claim(folder, owner).path
    os.utime(path, (time.time() - silence,) * 2)
    return path


def test_a_claim_lasts_as_long_as_its_context(tmp_path):
    with claimed(tmp_path, HERE) as claim:
        assert claims.claims(tmp_path) == [claim.path]
        with claimed(tmp_path, HERE) as second:
            assert second is None
    assert claims.claims(tmp_path) == []
    with pytest.raises(RuntimeError), claimed(tmp_path, HERE):
        raise RuntimeError
    assert claims.claims(tmp_path) == []


@pytest.mark.parametrize(
    ("owner", "silence", "free"),
    [
        pytest.param(THERE, 0, False, id="another host, at work"),
        pytest.param(THERE, SILENT_SECONDS - 5, False, id="another host, silent for less than minutes"),
        pytest.param(THERE, SILENT_SECONDS + 5, True, id="another host, silent"),
        pytest.param(THERE, -3600, False, id="another host, by a wrong clock"),
        pytest.param(replace(HERE, pids="container"), 0, True, id="another container of this machine"),
        pytest.param(replace(HERE, start=1), 0, True, id="this number was another process's"),
        pytest.param(replace(THERE, host=HERE.host), 0, False, id="another host of the same name"),
    ],
)
def test_which_claim_of_another_process_counts(tmp_path, owner, silence, free):
    path = left(tmp_path, owner, silence)
    with claimed(tmp_path, HERE) as claim:
        assert (claim is not None) == free
        assert path.exists() != free
    assert claims.claims(tmp_path) == ([] if free else [path])


@pytest.mark.parametrize(
    ("owner", "silence", "free"),
    [
        pytest.param(HERE, SILENT_SECONDS + 5, False, id="this process, suspended for long"),
        pytest.param(replace(HERE, start=1), 0, True, id="this number was another process's"),
        pytest.param(replace(HERE, pids="container"), 0, False, id="another container, at work"),
    ],
)
def test_without_any_locks_processes_of_this_machine_are_looked_for(tmp_path, monkeypatch, owner, silence, free):
    def flock(file, mode):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    left(tmp_path, owner, silence)
    with claimed(tmp_path, HERE) as claim:
        assert (claim is not None) == free


def test_the_time_is_that_of_the_file_system(tmp_path, monkeypatch):
    """This host's clock is an hour ahead: the other process is not dead."""
    path = left(tmp_path, THERE, 1)
    monkeypatch.setattr(claims.time, "time", lambda now=time.time: now() + 3600)
    with claimed(tmp_path, HERE) as claim:
        assert claim is None
    assert claims.claims(tmp_path) == [path]


@pytest.mark.parametrize(
    ("requeues", "free"), [(0, False), (1, True)], ids=["beside it in the job", "the job was started anew"]
)
def test_a_job_that_was_started_anew_waits_for_nobody(tmp_path, requeues, free):
    left(tmp_path, replace(THERE, job="17"), 0)
    with claimed(tmp_path, replace(HERE, job="17", requeues=requeues)) as claim:
        assert (claim is not None) == free


def test_a_queue_may_know_that_a_job_has_ended(tmp_path):
    left(tmp_path, replace(THERE, job="17"), 0)
    with claimed(tmp_path, HERE, lambda owner: owner.job == "18") as claim:
        assert claim is None
    with claimed(tmp_path, HERE, lambda owner: owner.job == "17") as claim:
        assert claim


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "many"}'])
def test_a_claim_that_cannot_be_read_counts_until_it_is_old(tmp_path, text):
    path = left(tmp_path, THERE, 0)
    path.write_text(text)
    with claimed(tmp_path, HERE) as claim:
        assert claim is None
    os.utime(path, (0, 0))
    with claimed(tmp_path, HERE) as claim:
        assert claim


def test_a_half_written_claim_counts_for_nothing_and_goes_in_time(tmp_path):
    path = tmp_path / ".claim-1.making"
    path.touch()
    with claimed(tmp_path, HERE) as claim:
        assert claim
    assert path.exists()
    os.utime(path, (0, 0))
    with claimed(tmp_path, HERE):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]


def test_the_claim_that_was_taken_over_is_gone_for_its_process(tmp_path, no_reach):
    with claimed(tmp_path, THERE) as first:
        first.check()
        os.utime(first.path, (0, 0))
        with claimed(tmp_path, HERE) as second:
            with pytest.raises(Taken):
                first.check()
            second.check()


def test_a_heartbeat_is_shown_while_the_block_lasts(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.02)
    with claimed(tmp_path, HERE) as claim:
        with claim.kept_alive():
            os.utime(claim.path, (0, 0))
            time.sleep(0.2)
            assert time.time() - claims.last_beat(tmp_path) < 5
        os.utime(claim.path, (0, 0))
        time.sleep(0.1)
        assert claims.last_beat(tmp_path) == 0
    assert claims.last_beat(tmp_path) is None


def together(code: str, folder: Path, hosts: str) -> list[str]:
    """What a process of each host prints; their code begins at the same time, after their imports."""
    waits = "print(flush=True)\nwhile not (folder.parent / 'go').exists():\n    time.sleep(0.0005)\n"
    (folder.parent / "go").unlink(missing_ok=True)
    processes = [start(HOST + waits + code, folder, host) for host in hosts]
    for process in processes:
        process.stdout.readline()
    (folder.parent / "go").touch()
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(hosts)
    return printed


WORKS = """
won, end = 0, time.time() + 2
while time.time() < end:
    with claim.claimed(folder, owner) as mine:
        if mine:
            alone = open(folder / "at-work", "x")
            time.sleep(0.002)
            (folder / "at-work").unlink()
            won += 1
print(won)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_two_claimers_never_both_win(folder):
    """Three hosts of two processes each; creating the file of the one at work fails where there are two."""
    assert sum(map(int, together(WORKS, folder, "aabbcc"))) > 50
    assert claims.claims(folder) == []


WRITES = """
end = time.time() + 2
while time.time() < end:
    with claim.turn(folder, "summary"):
        alone = open(folder / "at-work", "x")
        time.sleep(0.002)
        (folder / "at-work").unlink()
    time.sleep(0.001)
"""


def test_the_tables_are_written_by_one_process_at_a_time(folder):
    """Each waits for the others, and looks away from what else is claimed in the folder."""
    with claimed(folder, HERE, of="report.") as claim:
        together("claim.Owner.here = lambda: owner\n" + WRITES, folder, "aabb")
        assert claims.claims(folder) == [claim.path]
    assert sorted(path.name for path in folder.iterdir() if "lock" not in path.name) == []


def test_a_long_wait_for_the_tables_is_said(folder, monkeypatch, capsys):
    monkeypatch.setattr(claims, "SAID_SECONDS", 0.2)
    with claimed(folder, THERE, of="summary.") as first:
        waiting = threading.Thread(target=turn(folder, "summary")(lambda: None))
        waiting.start()
        time.sleep(0.7)
        first.path.unlink()
    waiting.join(10)
    assert not waiting.is_alive()
    assert capsys.readouterr().err == f"acmix_exp: {folder}: waiting for process 1 on there to write the summary\n"


TAKES_OVER = """
with claim.claimed(folder, owner) as mine:
    print("won" if mine else "lost")
    time.sleep(1)
"""


@pytest.mark.parametrize("repeat", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 2))])
def test_a_dead_run_is_taken_over_by_one(folder, repeat):
    left(folder, THERE, 3600)
    said = together(TAKES_OVER, folder, "abcdef")
    assert said.count("won\n") <= 1
    if "won\n" not in said:  # all looked at once; then they look again
        with claimed(folder, HERE) as claim:
            assert claim


def test_a_lock_is_freed_by_the_death_of_its_process(tmp_path):
    code = HOST.replace('f".{host}{path.name}"', '".lock"')
    code += "with claim.claimed(folder, owner): print(1, flush=True); input()"
    other = start(code, tmp_path, HERE.host, stdin=subprocess.PIPE)
    assert other.stdout.readline() == "1\n"
    with claimed(tmp_path, HERE) as claim:
        assert claim is None
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with claimed(tmp_path, HERE) as claim:
        assert claim is None, "its host is another one: the lock may not reach there"
    with claimed(tmp_path, replace(HERE, boot=f"boot {HERE.host}")) as claim:
        assert claim
