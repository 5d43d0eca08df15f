"""One run, from its lock to its last status. The training itself is a child process, so that nothing it does, not
even being killed, is more than one failed row."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from acmix_exp.config import Config, load
from acmix_exp.run import devices
from acmix_exp.run.child import child_environment, end, is_alive
from acmix_exp.run.devices import gpu_slot
from acmix_exp.run.directory import Run
from acmix_exp.yolo.pretrained import is_checkpoint

DONE, FAILED, BUSY = "done", "failed", "busy"
STALE_CHECKPOINT = 75  # the child's exit code where last.pt can't be resumed from
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Command:
    """The command that a run is supervised for: its process and when it began (seconds since the epoch)."""

    owner: int
    began: float


def supervise(run: Run, command: Command, *, wait: bool = False) -> str:
    """Bring a prepared run to its end: ``done``, ``failed``, or ``busy`` where another process holds it.

    When the command's process is gone the run ends too. A done run is left as it is, an interrupted one goes on from
    last.pt, one that failed before the command began starts anew: several cells may share a run, which fails once.
    ``wait`` waits for a process that holds it.
    """
    with run.lock(wait=wait) as mine:
        if not mine:
            return BUSY
        if run.is_done():
            return DONE
        config = load(run.path / "config.yaml")
        before = run.status() or {}
        if before.get("status") == "failed" and before.get("started", 0) >= command.began:
            return FAILED
        if before.get("status") == "done":
            _say(run, "result.json is missing or corrupt; the run starts anew")
        resume = before.get("status") in ("running", "interrupted") and _resumable(run)
        run.set_status(attempt=before.get("attempt", 0) + 1)
        try:
            error = _attempt(run, config, command.owner, resume)
            if error is None and run.result() is None:
                error = "the training process left no result.json"
        except BaseException:
            run.set_status(status="interrupted", pid=None, error=None)
            raise
        finally:
            shutil.rmtree(run.path / ".ultralytics", ignore_errors=True)
        if error is not None:
            run.set_status(status="failed", pid=None, error=error)
            return FAILED
        run.set_status(status="done", pid=None, error=None)
        return DONE


def _say(run: Run, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr, flush=True)


def _resumable(run: Run) -> bool:
    if not run.last.exists():
        return False
    if is_checkpoint(run.last):
        return True
    _say(run, "weights/last.pt is corrupt; the run starts anew")
    return False


def _attempt(run: Run, config: Config, owner: int, resume: bool) -> str | None:
    """Train in a child; None where it went well, else the reason in one line."""
    gpus = devices.gpus(config.hardware)
    with gpu_slot(gpus, config.hardware.runs_at_once) as gpu:
        if not resume:
            run.clear()
        code = _child(run, config, owner, gpu, resume)
        if code == STALE_CHECKPOINT and resume:
            _say(run, "weights/last.pt can't be resumed from; the run starts anew")
            run.clear()
            resume = False
            code = _child(run, config, owner, gpu, resume)
    if code == 0:
        return None
    if code < 0:
        name = signal.Signals(-code).name
        return f"the training process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    reason = run.path / ".error"
    text = reason.read_text(encoding="utf-8").strip() if reason.exists() else ""
    reason.unlink(missing_ok=True)
    return text or f"the training process exited with {code}; see {run.log}"


def _child(run: Run, config: Config, owner: int, gpu: int | None, resume: bool) -> int:
    with open(run.log, "ab" if resume else "wb") as log:
        child = subprocess.Popen(
            child_command(run, resume),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(run.path, config, gpu),
            start_new_session=True,
        )
    try:
        facts = {"owner": owner, "host": platform.node(), "started": time.time()}
        run.set_status(status="running", pid=child.pid, error=None, resumed=resume, **facts)
        while True:
            try:
                return child.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if not is_alive(owner):
                    raise KeyboardInterrupt from None
    finally:
        end(child)


def child_command(run: Run, resume: bool) -> list[str]:
    return [
        sys.executable,
        "-m",
        "acmix_exp.run.training",
        str(run.path),
        str(os.getpid()),
        str(int(resume)),
    ]
