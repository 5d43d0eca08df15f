"""Exceptions of the program, and how any exception is put in one line."""

from __future__ import annotations


class ConfigError(Exception):
    """A config that cannot run. Each line names a key, its value and what would be right."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


class CheckpointError(Exception):
    """A last.pt or its progress file that cannot be resumed from: the run has to start anew."""


class NonFiniteLoss(FloatingPointError):
    """The loss is infinite or not a number: the run has failed and is not patched up."""


class ChildError(RuntimeError):
    """A child process of ours ended without an answer: the command fails, but no key of the config is to blame."""


def one_line(error: BaseException, limit: int = 2000) -> str:
    """An exception's class and message in one line of at most ``limit`` characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no error message'}"[:limit]
