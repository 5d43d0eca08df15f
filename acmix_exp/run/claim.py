"""Which process works on a run: a lock of the kernel, and beside it a claim file, for hosts that share a folder.

A lock may not reach other hosts: that depends on the file system and how it is mounted. So whoever has the lock also
puts a file of its own into the run directory, and then looks for the files of others. It works on the run if there are
none, or only some of processes that are gone, and else takes its own file back. Of two that look at the same time, at
least one sees the other's file, for each had put its own there before. That rests on the creation and the listing of
files alone, which every shared file system does for all hosts.

A claim is kept alive by its modification time, which the file system's clock sets: that of a host may be wrong. A
process that was silent for too long finds its claim deleted, and stops.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from acmix_exp.files import CLAIM as PREFIX
from acmix_exp.files import locked, read_json
from acmix_exp.run.owner import Owner

BEAT_SECONDS = 30.0  # between two heartbeats
TURN_SECONDS = 0.1  # between two looks at files that another process writes
SAID_SECONDS = 10.0  # after which waiting for them is said
SILENT_SECONDS = 300.0  # without one for this time, a process of another host is taken for dead
MAKING = ".making"  # suffix of a claim whose text is not yet written


class Taken(Exception):
    """Another process has taken the run over: this one was silent for too long."""


class Claim:
    """A process's claim on a run, while the context of :func:`claimed` lasts."""

    def __init__(self, folder: Path, owner: Owner, of: str = "") -> None:
        self.path = folder / f"{PREFIX}{of}{uuid.uuid4().hex}"
        making = Path(f"{self.path}{MAKING}")
        try:
            making.write_text(json.dumps(owner.record()), encoding="utf-8")
            os.rename(making, self.path)
        except OSError as error:  # of a write that failed Python knows no file name
            making.unlink(missing_ok=True)
            error.filename = error.filename or str(making)
            raise

    def held(self) -> bool:
        """Whether it was not deleted by a process that took the run over."""
        return beat(self.path)

    def check(self) -> None:
        """Raises Taken if it was."""
        if not self.held():
            raise Taken

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Show a heartbeat every BEAT_SECONDS, from a thread, while the block lasts."""
        ended = threading.Event()
        thread = threading.Thread(target=keep_alive, args=(self.path, ended.wait), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def beat(claim: Path) -> bool:
    """Show a heartbeat; whether the claim is still there."""
    try:
        os.utime(claim)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ESTALE)
    return True


def keep_alive(claim: Path, wait: Callable[[float], bool]) -> None:
    """Show a heartbeat every BEAT_SECONDS until ``wait`` returns true or the claim is gone."""
    while not wait(BEAT_SECONDS) and beat(claim):
        pass


@contextmanager
def claimed(
    folder: Path, owner: Owner, has_ended: Callable[[Owner], bool] | None = None, of: str = ""
) -> Iterator[Claim | None]:
    """Claim a run directory for ``owner``; yields None if another process or thread works on it.

    has_ended: whether a process of another host is known to have ended, as a cluster's queue may tell. of: begins the
    name of what is claimed in the folder, if that is not all of it. Raises OSError.
    """
    with locked(folder / f".{of}lock", wait=False) as lock:
        gone_others = partial(_gone, folder, owner, has_ended, of, reached=bool(lock))
        if lock is False or gone_others(None) is None:
            yield None
            return
        claim = Claim(folder, owner, of)
        try:
            if (gone := gone_others(claim)) is None:
                yield None
                return
            for path in gone:
                path.unlink(missing_ok=True)
            yield claim
        finally:
            with suppress(OSError):
                claim.path.unlink(missing_ok=True)


@contextmanager
def turn(folder: Path, of: str) -> Iterator[None]:
    """Wait until no other process of any host writes what ``of`` names, and keep them off while the block lasts.

    A long wait is said. Raises OSError.
    """
    say_at: float | None = time.monotonic() + SAID_SECONDS
    while True:
        with claimed(folder, Owner.here(), of=f"{of}.") as claim:
            if claim:
                with claim.kept_alive():
                    yield
                return
        if say_at and time.monotonic() > say_at:
            say_at = None
            others = [str(_owner(path)) for path in claims(folder, f"{of}.")] or ["another process"]
            print(f"acmix_exp: {folder}: waiting for {others[0]} to write the {of}", file=sys.stderr)
        time.sleep(TURN_SECONDS)


def _gone(
    folder: Path, here: Owner, has_ended: Callable[[Owner], bool] | None, of: str, own: Claim | None, *, reached: bool
) -> list[Path] | None:
    """The claims of other processes, all of which are gone; None if one of them may be at work.

    reached: whether the lock, which ``here`` has, keeps other processes of this machine away. The time is that of the
    file system, taken from ``own``. Without it, it is that of this host, which may be wrong: then a silent process is
    not taken for dead, only one that was not silent for alive.
    """
    now, gone = time.time() if own is None else own.path.stat().st_mtime, []
    for path in claims(folder, of):
        if (own and path == own.path) or (modified := _modified(path)) is None:
            continue
        silence, made = now - modified, path.suffix != MAKING
        alive = _alive(_owner(path), here, has_ended, reached=reached) if made else False
        if alive is None:
            alive = silence < SILENT_SECONDS and (own is not None or silence >= 0)
        if alive:
            return None
        if made or silence > SILENT_SECONDS:
            gone.append(path)
    return gone


def _alive(other: Owner, here: Owner, has_ended: Callable[[Owner], bool] | None, *, reached: bool) -> bool | None:
    """Whether a process that has a claim is alive; None: only its heartbeat can tell."""
    if reached and other.on_kernel_of(here):
        return False  # it would have the lock
    alive = other.alive(here)
    return False if alive is None and has_ended and has_ended(other) else alive


def last_beat(folder: Path) -> float | None:
    """Time of the newest heartbeat of the processes that claim a run directory; None if none does."""
    return max((time for path in claims(folder) if (time := _modified(path)) is not None), default=None)


def claims(folder: Path, of: str = "") -> list[Path]:
    """The claim files of a run directory, or of a part of another folder."""
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(PREFIX + of)]
    except FileNotFoundError:
        return []


def _owner(claim: Path) -> Owner:
    return Owner.read(read_json(claim)) or Owner(host="an unknown host")


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
