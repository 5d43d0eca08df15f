"""What can go wrong in a run, by name. No torch."""

from __future__ import annotations


class CheckpointError(Exception):
    """A last.pt or its progress file that cannot be resumed from: the run has to start anew."""


class NonFiniteLoss(FloatingPointError):
    """The loss is infinite or not a number: the run has failed and is not patched up."""
