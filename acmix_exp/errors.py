"""Exceptions of the program, the signals that end it, and a one-line text of any exception."""

from __future__ import annotations

import contextlib
import errno
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

# Ctrl-C, kill, a closed terminal, and what clusters send ahead of a time limit: they end a command in order.
# Windows has the first two.
STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
# Faults of the machine, which every other run of a command would meet too: a full disk, a quota, a limit of the shell.
STORAGE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE", "EMFILE", "ENFILE")
    if hasattr(errno, name)
)


class ConfigError(Exception):
    """A config that cannot run. Each line names a key, its value and valid values."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


class ChangedError(Exception):
    """Files that a run is trained from are no longer those that were planned. The text names them and the cure."""


class CheckpointError(Exception):
    """A last.pt or its progress file that cannot be resumed from: the run must restart from scratch."""


class NonFiniteLoss(FloatingPointError):
    """A loss or the headline mAP is infinite or NaN: the run has diverged, and fails."""


class ChildError(RuntimeError):
    """A child process ended without an answer: the command fails, but not because of a config key."""


class Stopped(Exception):
    """A run is to end now, and to be resumed later: its command was stopped, or its process was told to end."""


class StorageError(OSError):
    """A file cannot be written, because the disk is full or the like: the command ends, and goes on when rerun.

    The message is the cause and the file, in one line.
    """


def setting(key: str, value: object) -> str:
    """``KEY=VALUE`` as typed in a shell, in quotes where the shell needs them."""
    return shlex.quote(f"{key}={value}")


def storage_fault(error: BaseException, place: str = "") -> str | None:
    """``No space left on device: FILE`` for an error of :data:`STORAGE`, else None. place: if no file is known."""
    if isinstance(error, StorageError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in STORAGE:
        return None
    return f"{error.strerror}: {error.filename or place}".rstrip(": ")


@contextlib.contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Raise CheckpointError in place of what reading a cut or altered file raises, which can be any exception.

    A ConfigError stays, for a file that could run code; so does a fault of the machine: such a file may be whole.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        for cause in (error, error.__cause__):
            if cause is not None and storage_fault(cause):
                raise cause from None
        raise CheckpointError(f"{path}: cannot be loaded ({error})") from error


def one_line(error: BaseException, limit: int = 2000) -> str:
    """Class and message of an exception in one line of at most ``limit`` characters."""
    name = "changed" if isinstance(error, ChangedError) else type(error).__name__
    return f"{name}: {' '.join(str(error).split()) or 'no error message'}"[:limit]
