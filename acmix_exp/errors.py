"""Exceptions of the program, and a one-line text of any exception."""

from __future__ import annotations


class ConfigError(Exception):
    """A config that cannot run. Each line names a key, its value and valid values."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


class CheckpointError(Exception):
    """A last.pt or its progress file that cannot be resumed from: the run must restart from scratch."""


class NonFiniteLoss(FloatingPointError):
    """A loss or the headline mAP is infinite or NaN: the run has diverged, and fails."""


class ChildError(RuntimeError):
    """A child process ended without an answer: the command fails, but not because of a config key."""


def one_line(error: BaseException, limit: int = 2000) -> str:
    """Class and message of an exception in one line of at most ``limit`` characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no error message'}"[:limit]
