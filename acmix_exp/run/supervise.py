"""Supervise one run, from its lock to its final status: attempts, restart, resume.

Training runs in a child process, so a crash or a kill fails only that run.
"""

from __future__ import annotations

import errno
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType
from typing import Any

from acmix_exp.child import Answer, Child, take_spare, unpickling
from acmix_exp.config import Config, HardwareConfig, load
from acmix_exp.errors import STOPS, CheckpointError, ConfigError, NonFiniteLoss, Stopped, StorageError, storage_fault
from acmix_exp.files import write_text
from acmix_exp.run import devices, packing
from acmix_exp.run.claim import Claim, Taken
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.yolo.pretrained import is_checkpoint
from acmix_exp.yolo.resume import STATE

DONE, FAILED, INTERRUPTED, BUSY = "done", "failed", "interrupted", "busy"
KILLED = "the training process was killed by "  # begins the error of a run that failed, but can be resumed
RANK_KILLED = re.compile(r"\w+: rank \d+ was killed by ")  # begins it where the process was one of several
LOADER_KILLED, LOADER_TERMINATED = "is killed by signal: Killed", "is killed by signal: Terminated"  # torch's words
STOPPED = ("running", "interrupted")  # statuses that end with the process that wrote them
CHANGED = "changed: "  # begins the error of a run whose data or files had changed: it goes on once they are back


@dataclass(frozen=True)
class Command:
    """What runs are supervised for: a command, or the job of a cluster.

    attempts: of each run, how many attempts it had when the command began. has_ended: whether a process of another host
    is known to have ended, as a cluster's queue may tell. stop: set it to interrupt the runs that are supervised.
    runs_at_once: how many of them share the GPUs.
    scheduled: a scheduler, such as Slurm, has given this process its GPUs.
    """

    owner: Owner = field(default_factory=Owner.here)
    attempts: Mapping[Run, int] = field(default_factory=dict)
    has_ended: Callable[[Owner], bool] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    runs_at_once: Callable[[HardwareConfig], int] = packing.smallest
    scheduled: bool = False

    @contextmanager
    def stopped_by_signals(self) -> Iterator[list[int]]:
        """While the block lasts, a signal of STOPS sets ``stop``; yields the numbers of those received.

        Only in the main thread.
        """
        received: list[int] = []

        def note(number: int, frame: FrameType | None) -> None:
            received.append(number)
            self.stop.set()

        before = {number: signal.signal(number, note) for number in STOPS}
        try:
            yield received
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def supervise(run: Run, command: Command) -> str:
    """Train a prepared run to its end; returns ``done``, ``failed``, ``interrupted``, or ``busy`` if another process is
    at work on it, here or on another host.

    A run that is done or has diverged is left unchanged. One that was stopped or killed, or whose files had changed,
    resumes from last.pt, and one that failed before the command began restarts; one that failed since is not retried,
    for others who share the work may have tried it. A run is interrupted when the command is stopped, or when its
    training process is told to end: then it resumes. Raises OSError if the machine is at fault, say a full disk: the
    run is interrupted then. ``slurm_job.py`` shows the use in the job of a cluster.
    """
    last_sign = time.time() - min(run.silence(), time.time())
    with run.lock(command.owner, command.has_ended) as claim:
        if claim is None:
            return BUSY
        if (before := run.status()) is None:  # what it has on disk is not cleared away for that
            raise OSError(errno.EIO, "cannot be read", str(run.path / "status.json"))
        if run.is_done():
            return DONE
        if run.has_diverged():
            return FAILED
        attempt = before.get("attempt", 0)
        if before.get("status") == FAILED and attempt > command.attempts.get(run, attempt):
            return FAILED
        if before.get("status") in STOPPED and run.result() is not None and not run.last.exists():
            run.set_status(status=DONE, pid=None, error=None)  # killed after its last file was written
            return DONE
        with claim.kept_alive():
            return _supervise(run, command, claim, before, last_sign)


def _supervise(run: Run, command: Command, claim: Claim, before: dict[str, Any], last_sign: float) -> str:
    """The run's outcome, which its status then says, unless another process has taken the run over.

    last_sign: time of the last heartbeat of the process that had the run before.
    """
    config = load(run.path / "config.yaml")
    run.remove_temporaries()
    diverged = run.diverged_attempts()
    run.set_status(diverged=diverged)
    try:
        error = _attempt(run, config, command, claim, before, last_sign)
        claim.check()
    except ConfigError as fault:  # the node of a job has not what the config asks for
        error = str(fault)
    except Taken:
        return _left(run)
    except BaseException as stop:
        told_to_end = isinstance(stop, Stopped)
        if claim.held():
            with suppress(OSError):  # a status ``running`` that nobody keeps alive means the same
                why = str(stop) or None if told_to_end else storage_fault(stop)
                run.set_status(status=INTERRUPTED, pid=None, error=why)
            run.remove_temporaries()
        elif told_to_end:  # and taken over meanwhile
            return _left(run)
        if told_to_end:
            return INTERRUPTED
        raise
    run.remove_temporaries()
    if error is None and run.result() is None:
        error = "the training process left no result.json"
    outcome = DONE if error is None else FAILED
    diverged += str(error).startswith(f"{NonFiniteLoss.__name__}: ")
    run.set_status(status=outcome, pid=None, error=error, diverged=diverged)
    return outcome


def holder(run: Run) -> str:
    """Who is at work on a run, in words."""
    status = run.status() or {}
    return str(Owner.of(status) or Owner()) if status.get("status") == "running" else "another command"


def _say(run: Run, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr, flush=True)


def _scratch_reason(run: Run, before: dict[str, Any]) -> str | None:
    """Why a run that was started before starts anew; None if it resumes."""
    error = str(before.get("error") or run.broken() or "no error is recorded")
    goes_on = error.startswith((KILLED, CHANGED)) or RANK_KILLED.match(error) or LOADER_KILLED in error
    if run.state() == "failed" and not goes_on:
        return f"attempt {before.get('attempt', 0)} failed ({error})"
    if is_checkpoint(run.last.with_name(STATE)):  # holds all that the next epoch needs
        return None
    if not run.last.exists():
        return "no checkpoint was saved"
    return None if is_checkpoint(run.last) else "checkpoint cannot be read: weights/last.pt is corrupt"


def _left(run: Run) -> str:
    _say(run, f"was taken over by {holder(run)}, for this process had shown no heartbeat; it is left to that one")
    return BUSY


def _attempt(
    run: Run, config: Config, command: Command, claim: Claim, before: dict[str, Any], last_sign: float
) -> str | None:
    """Train in a child process; None or the error in one line. Raises Stopped, Taken and StorageError."""
    started = before.get("attempt", 0) > 0
    hardware = replace(config.hardware, runs_at_once=command.runs_at_once(config.hardware))
    with devices.gpus_of_run(hardware, command.stop, scheduled=command.scheduled) as gpus:
        reason = _scratch_reason(run, before) if started else None
        resume = started and reason is None
        if found := _contradiction(run, before, last_sign) if started else None:
            _say(run, found + ("; resumes from weights/training.state" if resume else ""))
        answer = _train(run, config, command, claim, gpus, before, reason, resume=resume)
        if answer.kind == CheckpointError.__name__ and resume:
            reason = f"checkpoint cannot be read: it can't be resumed from {answer.error}"
            answer = _train(run, config, command, claim, gpus, before, reason, resume=False)
    if answer.kind == StorageError.__name__:
        raise StorageError(answer.error)
    if answer.error is None:
        return None
    if command.stop.is_set():
        raise Stopped
    if -answer.code in STOPS or LOADER_TERMINATED in answer.error:  # scancel and the like reach every process
        _say(run, f"the training process {answer.error}; the run is interrupted, and the same command resumes it")
        raise Stopped(f"the training process {answer.error}")
    if answer.kind:
        return answer.error
    return f"the training process {answer.error}" + ("" if answer.code < 0 else f"; see {run.log}")


def _contradiction(run: Run, before: dict[str, Any], last_sign: float) -> str | None:
    """What contradicts the status of a run that was started before, in words."""
    if before["status"] == "running":
        last = datetime.fromtimestamp(last_sign)
        return f"was running as {holder(run)}, which has ended (last heartbeat {last:%Y-%m-%d %H:%M:%S})"
    return run.broken() if before["status"] == "done" and run.state() != "failed" else None


def _train(
    run: Run,
    config: Config,
    command: Command,
    claim: Claim,
    gpus: list[int] | None,
    before: dict[str, Any],
    reason: str | None,
    *,
    resume: bool,
) -> Answer:
    """One child process to its end. reason: why a run that was started before is not resumed."""
    claim.check()
    if not resume:
        run.clear()
    if reason:
        _say(run, f"restarted from scratch: {reason}")
        write_text(run.log, f"restarted from scratch: {reason}\n")
    threads = config.hardware.threads
    variables = unpickling(config.allow_unsafe_checkpoint)
    spare = take_spare("train", threads) if gpus is None and not variables else None
    with spare or Child("train", run.path, threads=threads, gpu=gpus, variables=variables) as child:
        append = resume or reason is not None
        child.send({"resume": resume}, folder=run.path, log=run.log, append=append, claim=claim.path)
        run.set_status(
            status="running",
            pid=child.pid,
            error=None,
            resumed=resume,
            attempt=before.get("attempt", 0) + 1,
            started=time.time(),
            owner=command.owner.record(),
        )
        while not child.ended():
            if not claim.path.exists():
                raise Taken
            if command.stop.is_set():
                raise Stopped
        return child.answer()
