"""A Slurm job, on its node: ``python -m acmix_exp.executors.slurm_job LIST INDEX REQUEUES`` supervises one run.

A job that is told to stop interrupts its run. It goes back into the queue where Slurm ends it for the time limit or for
another job, and does not where somebody cancelled it. Exit codes: those of ``job.CODES``.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from acmix_exp import files
from acmix_exp.executors import slurm_queue
from acmix_exp.executors.job import CODES, outcome
from acmix_exp.executors.slurm_queue import Job, SlurmError
from acmix_exp.run.claim import SILENT_SECONDS
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import BUSY, INTERRUPTED, Command, holder

BUSY_SECONDS = SILENT_SECONDS + 60  # how long a job waits for a run that another command is at work on
LOOK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Supervise the run of this job; returns the exit code."""
    path, index, requeues = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    run = Run(path.parents[1] / (files.read_json(path) or {})["runs"][index])
    command = Command(has_ended=_has_ended, scheduled=True)
    with command.stopped_by_signals() as received:
        ended = _outcome(run, command)
        _say(f"{run.name}: {ended}{_because(run, received)}")
        if ended == INTERRUPTED and _ended_by_slurm(received):
            _requeue(requeues)
    return CODES[ended]


def _outcome(run: Run, command: Command) -> str:
    """That of the run; if another process is at work on it, once that one has let go, or BUSY in the end."""
    until, said = time.monotonic() + BUSY_SECONDS, ""
    while (ended := outcome(run, command)) == BUSY and time.monotonic() < until:
        line = f"{run.name}: {holder(run)} is at work on it; waiting for that"
        if line != said:
            _say(line)
        said = line
        if command.stop.wait(LOOK_SECONDS):
            return INTERRUPTED
    return ended


def _because(run: Run, received: Sequence[int]) -> str:
    reasons = [signal.Signals(number).name for number in dict.fromkeys(received)]
    error = (run.status() or {}).get("error")
    return f" ({', '.join(reasons + ([str(error)] if error else []))})" if reasons or error else ""


def _has_ended(owner: Owner) -> bool:
    """Whether the job of a run's owner has ended: its node may be gone."""
    if owner.job is None:
        return False
    try:
        states = slurm_queue.call("squeue", "--noheader", "--states=all", f"--jobs={owner.job}", "--format=%T").split()
    except SlurmError as error:
        return "invalid job id" in str(error).lower()
    return not any(Job(owner.job, 0, state, "").alive for state in states)


def _ended_by_slurm(received: Sequence[int]) -> bool:
    """Whether the signals came ahead of the time limit, or of a preemption, and not from scancel."""
    if signal.SIGUSR1 in received:
        return True
    try:
        job = slurm_queue.call("scontrol", "show", "job", os.environ.get("SLURM_JOB_ID", ""))
    except SlurmError as error:
        _say(f"the state of the job is unknown, so it is not requeued: {error}")
        return False
    facts = dict(re.findall(r"(\w+)=(\S+)", job))
    preempted = facts.get("JobState") == "RUNNING" and facts.get("PreemptTime", "None") != "None"
    return preempted or facts.get("JobState") == "TIMEOUT"


def _requeue(most: int) -> None:
    """Put this job back into the queue. Slurm then kills what is left of it."""
    before = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    if before >= most:
        _say(f"not requeued: hardware.slurm.requeues={most} times it was")
        return
    try:
        _say(f"requeued, for the {before + 1}. time")
        slurm_queue.call("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
    except (SlurmError, KeyError) as error:
        _say(f"Slurm does not requeue the job: {error}; the same command resumes the run")


def _say(text: str) -> None:
    print(f"acmix_exp: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
