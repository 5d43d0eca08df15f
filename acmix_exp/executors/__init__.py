"""Executors: how the prepared runs of a plan are started, waited for and interrupted. One interface, one file each.

Read this file first, then local.py. An executor gets run directories that are ready (config.yaml, status.json); what
becomes of a run is in its status.json alone, which ``run.supervise.supervise`` keeps true wherever it is called.
Another engine, such as a cluster's queue, is another file with the three methods of Executor, chosen in ``create``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from acmix_exp.config import HardwareConfig
from acmix_exp.run.directory import Run


class Executor(Protocol):
    """Starts runs, at most ``hardware.runs_at_once`` of them at a time. Runs that are done are left as they are."""

    def start(self) -> None:
        """Begin; returns at once."""

    def wait(self, seconds: float) -> bool:
        """Wait for the end of all runs, up to ``seconds``; whether they have ended.

        Raises what went wrong in the executor itself. A run that fails is no error: its status tells.
        """

    def interrupt(self) -> None:
        """End what is running, leave true statuses and start nothing more; returns when that is so."""


def create(runs: Sequence[Run], hardware: HardwareConfig) -> Executor:
    """The executor that the config asks for."""
    from acmix_exp.executors.local import LocalExecutor

    return LocalExecutor(runs, hardware.runs_at_once)
