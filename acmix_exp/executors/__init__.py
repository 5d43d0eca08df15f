"""Executors: how the prepared runs of a plan are started, waited for and interrupted. One interface, one file each.

Read this file first, then local.py. An executor gets prepared run directories (config.yaml, status.json). The outcome
of a run is in its status.json alone, which ``run.supervise.supervise`` keeps true wherever it is called. Another
engine is another file with the methods of Executor, chosen in ``create``. slurm.py submits jobs of a cluster:
slurm_script.py is what it submits, slurm_queue.py Slurm's commands. ray.py hands runs to Ray, in the child process
ray_driver.py. On the node slurm_job.py or ray_job.py supervises the run; job.py is what these have in common.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from acmix_exp.config import HardwareConfig
from acmix_exp.run.directory import Run


class Executor(Protocol):
    """Starts runs, at most ``hardware.runs_at_once`` of them at a time. Runs that are done are left as they are."""

    def start(self) -> None:
        """Start the runs and return at once. Raises ConfigError if the engine takes none of them."""

    def wait(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for all runs to end; returns whether they have ended.

        Raises the executor's own errors. A failed run is not an error here: its status says so.
        """

    def interrupt(self) -> str | None:
        """Stop what is running, set its status to interrupted and start nothing more; returns when that is done.

        An engine that outlives this process leaves its runs at work, and returns in a line how to reach them.
        """

    def at_once(self) -> int:
        """How many runs train side by side, as far as it is known."""

    def notes(self) -> Mapping[str, str]:
        """Why runs that are not at work have to wait, in a few words, by the names of the runs."""


def create(runs: Sequence[Run], hardware: HardwareConfig) -> Executor:
    """The executor that the config asks for; where no run is left to train, that of this machine, which needs nothing.

    Raises ConfigError if the engine is not to be had, or would never start the runs.
    """
    if hardware.executor == "local" or all(run.is_final() for run in runs):
        from acmix_exp.executors.local import LocalExecutor

        return LocalExecutor(runs, hardware)
    if hardware.executor == "slurm":
        from acmix_exp.executors.slurm import SlurmExecutor

        return SlurmExecutor(runs, hardware)
    from acmix_exp.executors.ray import RayExecutor

    return RayExecutor(runs, hardware)


def jobs(folder: Path) -> dict[str, str]:
    """The job of each run of an experiment's folder that has one in a queue, in words, by the run's name."""
    from acmix_exp.executors import slurm_queue

    if not (folder / slurm_queue.FOLDER).is_dir() or not shutil.which("squeue"):
        return {}
    try:
        queue = slurm_queue.queue(folder)
    except slurm_queue.SlurmError as error:
        print(f"acmix_exp: the queue of Slurm cannot be read: {error}", file=sys.stderr)
        return {}
    return {name: str(job) for name, job in queue.items() if job.alive}
