"""Slurm executor: submits unfinished runs as arrays, watches their run directories and the queue, and may detach.

Jobs go on without this process. A run that has a job in the queue is not submitted again, so the same command attaches
to the jobs of an earlier one, and two commands at once submit every run once.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp import files
from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError
from acmix_exp.executors import slurm_queue, slurm_script
from acmix_exp.executors.job import record_not_begun
from acmix_exp.executors.slurm_queue import FOLDER, FORGOTTEN, Job, SlurmError
from acmix_exp.run.claim import turn
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import KILLED

POLL_SECONDS = 15.0  # between two calls of squeue, each of which asks for all jobs
TICK_SECONDS = 1.0  # between two looks at the directories of the runs that are at work


class SlurmExecutor:
    """An Executor of one Slurm job per run, of which ``hardware.runs_at_once`` run at a time."""

    def __init__(self, runs: Sequence[Run], hardware: HardwareConfig) -> None:
        """Raises ConfigError as :func:`check`."""
        self._hardware, self._folder = hardware, runs[0].path.parent
        self._runs = list(runs)
        self._open: list[Run] = []
        self._found: dict[Run, tuple[Any, ...]] = {}  # what their statuses said at the start
        self._jobs: dict[str, Job] = {}
        self._polled = 0.0
        check(hardware, self._folder)

    def start(self) -> None:
        """Submit the runs that are not done and have no job. Raises ConfigError if Slurm takes none of them."""
        self._open = [run for run in self._runs if not run.is_final()]
        self._found = {run: _history(run) for run in self._open}
        if not self._open:
            return
        (self._folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with turn(self._folder / FOLDER, "submission"):  # a lock may not reach the other login node
            try:
                self._jobs, size = slurm_queue.queue(self._folder), slurm_queue.array_size()
            except SlurmError as error:
                raise ConfigError(f"hardware=slurm: the queue cannot be read: {error}") from None
            queued = [run for run in self._open if self._has_job(run)]
            if queued:
                jobs = f"{len(queued)} job{'s' * (len(queued) > 1)}"
                _say(f"{jobs} of this command in the queue already ({self._arrays(queued)})")
            # What another command trains on another machine is left to it.
            self._submit([run for run in self._open if not self._has_job(run) and run.state() != "running"], size)
        self._poll()

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            if self._open and time.monotonic() - self._polled >= POLL_SECONDS:
                self._poll()
            self._open = [run for run in self._open if not self._ended(run)]
            if not self._open:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(TICK_SECONDS, max(0.0, deadline - time.monotonic())))

    def interrupt(self) -> str | None:
        """Leave the jobs in the queue; returns how they are ended and followed."""
        left = [run for run in self._open if self._has_job(run)]
        if not left:
            return None
        line = f"detached; the same command attaches again, and 'scancel {self._arrays(left)}' ends what is left"
        return f"{line}: {len(left)} job{'s' * (len(left) > 1)}"

    def at_once(self) -> int:
        return int(self._hardware.runs_at_once)

    def notes(self) -> dict[str, str]:
        return {name: job.reason for name, job in self._jobs.items() if job.waits}

    def _submit(self, runs: Sequence[Run], size: int) -> None:
        """Submit arrays of at most ``size`` jobs, of which each starts when the one before has ended.

        So no more than ``runs_at_once`` jobs run at a time, a limit that Slurm has for each array alone.
        """
        before: int | None = None
        for first in range(0, len(runs), max(1, size)):
            part = runs[first : first + max(1, size)]
            try:
                before = self._submit_array(part, before, arrays=size > 0)
            except ConfigError as error:
                if first == 0:
                    raise
                _say(f"{len(runs) - first} runs are not submitted: {error}; the same command submits them later")
                left = set(runs[first:])
                self._open = [run for run in self._open if run not in left]
                return

    def _submit_array(self, runs: Sequence[Run], after: int | None, *, arrays: bool) -> int:
        content = slurm_queue.write_list(self._folder, [run.name for run in runs])
        script = self._folder / FOLDER / f"{content}.sh"
        files.write_text(script, slurm_script.script(self._hardware, slurm_queue.list_path(self._folder, content)))
        name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', self._folder.name)[:40]}.{content}"
        options = slurm_script.options(self._hardware, self._folder, name, len(runs) if arrays else 0)
        job = slurm_queue.submit(options + ([] if after is None else [f"--dependency=afterany:{after}"]), script)
        _say(f"{len(runs)} runs submitted as Slurm job {job}; its logs are in {self._folder / FOLDER}")
        self._jobs |= {run.name: Job(f"{job}_{i}", job, "PENDING", "", i) for i, run in enumerate(runs)}
        return job

    def _poll(self) -> None:
        self._polled = time.monotonic()
        try:
            jobs = slurm_queue.queue(self._folder)
        except SlurmError as error:
            _say(f"the queue cannot be read, and is asked again: {error}")
            return
        self._jobs = {**{name: replace(job, state=FORGOTTEN) for name, job in self._jobs.items()}, **jobs}

    def _has_job(self, run: Run) -> bool:
        job = self._jobs.get(run.name)
        return job is not None and job.alive

    def _arrays(self, runs: Sequence[Run]) -> str:
        return " ".join(map(str, sorted({self._jobs[run.name].array for run in runs})))

    def _ended(self, run: Run) -> bool:
        """Whether a run is done, or its job has ended; a run that its job never began then gets a status."""
        job = self._jobs.get(run.name)
        if job is not None and job.state == "PENDING":
            return False
        if run.is_final():
            return True
        if job is not None and job.alive:
            return False
        if run.state() == "running" and not _works_for(run, job):
            return False  # another command is at work on it
        if job is not None:
            self._explain(run, job)
        return True

    def _explain(self, run: Run, job: Job) -> None:
        """Set the status of a run whose job ended without one of its own: it never began the run, or was killed."""
        log = slurm_queue.log_path(self._folder, job)
        with run.lock(has_ended=lambda owner: owner.job == job.number) as claim:
            status = (run.status() or {}).get("status")
            if claim is None:
                return
            if status == "running":
                out_of_memory = f"{KILLED}Slurm: job {job.id} is out of memory; see {log} and hardware.slurm.mem_gb"
                error = out_of_memory if job.state == "OUT_OF_MEMORY" else None
                run.set_status(status="failed" if error else "interrupted", pid=None, error=error)
            elif _history(run) != self._found[run]:
                return
            elif job.state in ("CANCELLED", FORGOTTEN) and (status == "interrupted" or not log.exists()):
                if status == "pending":
                    run.set_status(status="interrupted", error=f"job {job.id} left the queue before the run began")
            else:
                words = slurm_queue.last_line(log) or f"{job.state}, and nothing in its log"
                record_not_begun(run, f"job {job.id} ended before the run began: {words}; see {log}", _say)


def _works_for(run: Run, job: Job | None) -> bool:
    """Whether the status of a run says that a job is at work on it."""
    owner = Owner.of(run.status())
    return job is not None and owner is not None and owner.job == job.number


def check(hardware: HardwareConfig, folder: Path) -> None:
    """Raises ConfigError for jobs that Slurm refuses, or takes and would never start. Submits nothing."""
    slurm = hardware.slurm
    try:
        partition, most = slurm_queue.time_limit(slurm.partition)
    except SlurmError as error:
        named = "hardware=slurm" if slurm.partition is None else f"hardware.slurm.partition={slurm.partition}"
        raise ConfigError(f"{named}: {error}") from None
    if most is not None and slurm.time_min > most:
        raise ConfigError(f"hardware.slurm.time_min={slurm.time_min}: partition {partition} allows {most} at most")
    try:
        slurm_queue.call("sbatch", "--test-only", *slurm_script.options(hardware, folder, "test", 1), "--wrap=true")
    except SlurmError as error:
        with suppress(SlurmError):
            if slurm_queue.missing_nodes(partition):
                _say(f"Slurm says now: {error}; it may change, for nodes of partition {partition} are missing")
                return
        gpus = [] if hardware.device == "cpu" else [f"{hardware.gpus_per_run:g} GPU; hardware.device=cpu asks for none"]
        asked = ", ".join([f"{slurm_script.cpus(hardware)} cores", f"mem_gb={slurm.mem_gb}", *gpus])
        raise ConfigError(
            f"hardware=slurm: sbatch refuses: {error} (asked of partition {partition}: {asked})"
        ) from None


def _history(run: Run) -> tuple[Any, ...]:
    """What changes in the status of a run when it is begun or ends."""
    status = run.status() or {}
    return tuple(status.get(key) for key in ("status", "attempt", "started", "error"))


def _say(text: str) -> None:
    print(f"acmix_exp: {text}", file=sys.stderr, flush=True)
