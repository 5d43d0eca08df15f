"""Supervise one run, from its lock to its final status: attempts, restart, resume.

Training runs in a child process, so a crash or a kill fails only that run.
"""

from __future__ import annotations

import platform
import sys
import threading
import time
from dataclasses import dataclass, field

from acmix_exp.child import Answer, Child, is_alive, take_spare
from acmix_exp.config import Config, load
from acmix_exp.errors import NonFiniteLoss
from acmix_exp.run import devices
from acmix_exp.run.directory import Run
from acmix_exp.yolo.pretrained import is_checkpoint

DONE, FAILED, BUSY = "done", "failed", "busy"


@dataclass(frozen=True)
class Command:
    """The command that a run is supervised for: its process and its start time (seconds since the epoch).

    stop: set it to interrupt the runs that other threads supervise.
    """

    owner: int
    began: float
    stop: threading.Event = field(default_factory=threading.Event)


def supervise(run: Run, command: Command) -> str:
    """Train a prepared run to its end; returns ``done``, ``failed``, or ``busy`` if another process holds its lock.

    A finished run is left unchanged, an interrupted one resumes from last.pt, and one that failed before the command
    began restarts; one that failed since is not retried, because several cells may share it. The run ends when the
    process of the command ends. Raises KeyboardInterrupt if the command is stopped.
    """
    with run.lock() as held:
        if not held:
            return BUSY
        if run.is_done():
            return DONE
        config = load(run.path / "config.yaml")
        before = run.status() or {}
        if before.get("status") == "failed" and before.get("started", 0) >= command.began:
            return FAILED
        if before.get("status") == "done":
            _say(run, f"{run.broken() or 'result.json is missing'}; restarting from scratch")
        resume = before.get("status") in ("running", "interrupted") and _resumable(run)
        diverged = run.diverged_attempts()
        run.set_status(attempt=before.get("attempt", 0) + 1, diverged=diverged)
        try:
            error, kind = _attempt(run, config, command, resume)
            if error is None and run.result() is None:
                error = "the training process left no result.json"
        except BaseException:
            run.set_status(status="interrupted", pid=None, error=None)
            raise
        outcome = DONE if error is None else FAILED
        diverged += kind == NonFiniteLoss.__name__
        run.set_status(status=outcome, pid=None, error=error, diverged=diverged)
        return outcome


def _say(run: Run, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr, flush=True)


def _resumable(run: Run) -> bool:
    if not run.last.exists():
        return False
    if is_checkpoint(run.last):
        return True
    _say(run, "weights/last.pt is corrupt; restarting from scratch")
    return False


def _attempt(run: Run, config: Config, command: Command, resume: bool) -> tuple[str | None, str]:
    """Train in a child process; None or the error in one line, and the class name of the exception."""
    with devices.gpu_slot(devices.gpus(config.hardware), config.hardware.runs_at_once, command.stop) as gpu:
        if not resume:
            run.clear()
        answer = _train(run, config, command, gpu, resume)
        if answer.kind == "CheckpointError" and resume:
            _say(run, "weights/last.pt can't be resumed from; restarting from scratch")
            run.clear()
            answer = _train(run, config, command, gpu, resume=False)
    if answer.error is None or answer.kind:
        return answer.error, answer.kind
    text = f"the training process {answer.error}" + ("" if answer.code < 0 else f"; see {run.log}")
    return text, ""


def _train(run: Run, config: Config, command: Command, gpu: int | None, resume: bool) -> Answer:
    threads = config.hardware.threads
    spare = take_spare("train", threads) if gpu is None else None
    with spare or Child("train", run.path, threads=threads, gpu=gpu) as child:
        child.send({"resume": resume}, folder=run.path, log=run.log, append=resume)
        facts = {"owner": command.owner, "host": platform.node(), "started": time.time()}
        run.set_status(status="running", pid=child.pid, error=None, resumed=resume, **facts)
        while not child.ended():
            if command.stop.is_set() or not is_alive(command.owner):
                raise KeyboardInterrupt
        return child.answer()
