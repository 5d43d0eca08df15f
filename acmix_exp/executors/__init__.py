"""Executors: how the prepared runs of a plan are started, waited for and interrupted. One interface, one file each.

Read this file first, then local.py. An executor gets prepared run directories (config.yaml, status.json). The outcome
of a run is in its status.json alone, which ``run.supervise.supervise`` keeps true wherever it is called. Another
engine, such as a cluster's queue, is another file with the three methods of Executor, chosen in ``create``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from acmix_exp.config import HardwareConfig
from acmix_exp.run.directory import Run


class Executor(Protocol):
    """Starts runs, at most ``hardware.runs_at_once`` of them at a time. Runs that are done are left as they are."""

    def start(self) -> None:
        """Start the runs and return at once."""

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for all runs to end; returns whether they have ended.

        Raises the executor's own errors. A failed run is not an error here: its status says so.
        """

    def interrupt(self) -> None:
        """Stop what is running, set its status to interrupted and start nothing more; returns when that is done."""


def create(runs: Sequence[Run], hardware: HardwareConfig) -> Executor:
    """The executor that the config asks for."""
    from acmix_exp.executors.local import LocalExecutor

    return LocalExecutor(runs, hardware.runs_at_once)
