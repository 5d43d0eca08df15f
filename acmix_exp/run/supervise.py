"""Supervise one run, from its lock to its final status: attempts, restart, resume.

Training runs in a child process, so a crash or a kill fails only that run.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from acmix_exp.child import Answer, Child, is_alive, take_spare, unpickling
from acmix_exp.config import Config, load
from acmix_exp.errors import CheckpointError, NonFiniteLoss, StorageError, storage_fault
from acmix_exp.files import write_text
from acmix_exp.run import devices
from acmix_exp.run.directory import BEAT_SECONDS, SILENT_SECONDS, Run, machine, same
from acmix_exp.yolo.pretrained import is_checkpoint

DONE, FAILED, BUSY = "done", "failed", "busy"
KILLED = "the training process was killed by "  # begins the error of a run that failed, but can be resumed
STOPPED = ("running", "interrupted")  # statuses that end with the process that wrote them
CHANGED = "changed: "  # begins the error of a run whose data or files had changed: it goes on once they are back


@dataclass(frozen=True)
class Command:
    """The command that a run is supervised for: its process and its start time (seconds since the epoch).

    stop: set it to interrupt the runs that other threads supervise.
    """

    owner: int
    began: float
    stop: threading.Event = field(default_factory=threading.Event)


def supervise(run: Run, command: Command) -> str:
    """Train a prepared run to its end; returns ``done``, ``failed``, or ``busy`` if another process is at work on it.

    A finished run is left unchanged. One that was stopped or killed, or whose files had changed, resumes from last.pt,
    and one that failed before the command began restarts; one that failed since is not retried, because several cells
    may share it. The run ends when the process of the command ends. Raises KeyboardInterrupt if the command is stopped,
    and OSError if the machine is at fault, say a full disk: the run then counts as interrupted.
    """
    with run.lock() as held:
        before = run.status() or {}
        if not held or _lives_elsewhere(run, before):
            return BUSY
        if run.is_done():
            return DONE
        if before.get("status") == "failed" and before.get("started", 0) >= command.began:
            return FAILED
        if before.get("status") in STOPPED and run.result() is not None and not run.last.exists():
            run.set_status(status=DONE, pid=None, error=None)  # killed after its last file was written
            return DONE
        config = load(run.path / "config.yaml")
        run.remove_temporaries()
        diverged = run.diverged_attempts()
        run.set_status(diverged=diverged)
        try:
            error, kind = _attempt(run, config, command, before)
            if error is None and run.result() is None:
                error = "the training process left no result.json"
        except BaseException as stop:
            with suppress(OSError):  # a status ``running`` that nobody keeps alive means the same
                run.set_status(status="interrupted", pid=None, error=storage_fault(stop))
            raise
        finally:
            run.remove_temporaries()
        outcome = DONE if error is None else FAILED
        diverged += kind == NonFiniteLoss.__name__
        run.set_status(status=outcome, pid=None, error=error, diverged=diverged)
        return outcome


def _lives_elsewhere(run: Run, status: dict[str, Any]) -> bool:
    """Whether another machine trains the run although the lock is free: some file systems lock per machine."""
    return status.get("status") == "running" and not same(status, "boot") and run.silence() <= SILENT_SECONDS


def holder(run: Run) -> str:
    """Who is at work on a run, in words."""
    status = run.status() or {}
    if status.get("status") != "running":
        return "another command"
    return f"process {status.get('owner')} on {status.get('host')}"


def _say(run: Run, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr, flush=True)


def _scratch_reason(run: Run, before: dict[str, Any]) -> str | None:
    """Why a run that was started before starts anew; None if it resumes."""
    if run.state() == "failed" and not str(before.get("error")).startswith((KILLED, CHANGED)):
        return f"attempt {before['attempt']} failed ({before.get('error') or run.broken()})"
    if not run.last.exists():
        return "no checkpoint was saved"
    return None if is_checkpoint(run.last) else "checkpoint cannot be read: weights/last.pt is corrupt"


def _attempt(run: Run, config: Config, command: Command, before: dict[str, Any]) -> tuple[str | None, str]:
    """Train in a child process; None or the error in one line, and the class name of the exception."""
    started = before.get("attempt", 0) > 0
    with devices.gpu_slot(devices.gpus(config.hardware), config.hardware.runs_at_once, command.stop) as gpu:
        reason = _scratch_reason(run, before) if started else None
        resume = started and reason is None
        if found := _contradiction(run, before) if started else None:
            _say(run, found + ("; resumes from weights/last.pt" if resume else ""))
        answer = _train(run, config, command, gpu, before, reason, resume=resume)
        if answer.kind == CheckpointError.__name__ and resume:
            reason = f"checkpoint cannot be read: it can't be resumed from {answer.error}"
            answer = _train(run, config, command, gpu, before, reason, resume=False)
    if answer.kind == StorageError.__name__:
        raise StorageError(answer.error)
    if answer.error is None or answer.kind:
        return answer.error, answer.kind
    text = f"the training process {answer.error}" + ("" if answer.code < 0 else f"; see {run.log}")
    return text, ""


def _contradiction(run: Run, before: dict[str, Any]) -> str | None:
    """What contradicts the status of a run that was started before, in words."""
    if before["status"] == "running":
        last = datetime.fromtimestamp(time.time() - min(run.silence(), time.time()))
        return (
            f"was running as {holder(run)}, which ended: its lock is free (last sign of life {last:%Y-%m-%d %H:%M:%S})"
        )
    return run.broken() if before["status"] == "done" and run.state() != "failed" else None


def _train(
    run: Run,
    config: Config,
    command: Command,
    gpu: int | None,
    before: dict[str, Any],
    reason: str | None,
    *,
    resume: bool,
) -> Answer:
    """One child process to its end. reason: why a run that was started before is not resumed."""
    if not resume:
        run.clear()
    if reason:
        _say(run, f"restarted from scratch: {reason}")
        write_text(run.log, f"restarted from scratch: {reason}\n")
    threads = config.hardware.threads
    variables = unpickling(config.allow_unsafe_checkpoint)
    spare = take_spare("train", threads) if gpu is None and not variables else None
    with spare or Child("train", run.path, threads=threads, gpu=gpu, variables=variables) as child:
        child.send({"resume": resume}, folder=run.path, log=run.log, append=resume or reason is not None)
        facts = {"owner": command.owner, "started": time.time(), **machine()}
        run.beat()
        run.set_status(
            status="running", pid=child.pid, error=None, resumed=resume, attempt=before.get("attempt", 0) + 1, **facts
        )
        beat = time.monotonic()
        while not child.ended():
            if command.stop.is_set() or not is_alive(command.owner):
                raise KeyboardInterrupt
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                run.beat()
        return child.answer()
