"""errors."""

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
