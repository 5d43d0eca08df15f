"""What the jobs of Slurm and the tasks of Ray have in common: one process on a node that supervises one run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from acmix_exp import installed
from acmix_exp.errors import storage_fault
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, DONE, FAILED, INTERRUPTED, STOPPED, Command, supervise

# Exit codes of a job that looked after its run. Others, such as Python's own 1, are of a job that did not get to it.
CODES = {DONE: 0, FAILED: 3, BUSY: 75, INTERRUPTED: 130}
# Set on the node as here, even where its jobs do not get the environment of the command. No keys: others can read them.
VARIABLES = re.compile(r"(WANDB|YOLO)_(?!.*(KEY|TOKEN|SECRET|SERVICE)).*|XDG_CACHE_HOME")


def variables() -> dict[str, str]:
    """The environment variables of this process that a job needs."""
    named = {key: value for key, value in sorted(os.environ.items()) if VARIABLES.fullmatch(key)}
    return named | ({"PYTHONPATH": path} if (path := installed.python_path()) else {})


def outcome(run: Run, command: Command) -> str:
    """As :func:`supervise`; a fault of the machine, such as a full disk, is said in one line and interrupts the run."""
    try:
        return supervise(run, command)
    except OSError as error:
        print(f"acmix_exp: {run.name}: interrupted: {storage_fault(error) or error}", flush=True)
        return INTERRUPTED


def record_not_begun(run: Run, error: str, say: Callable[[str], None]) -> None:
    """Say in the status of a run, whose claim the caller has, that its job ended before it began the run.

    The run has failed; but one that had been interrupted stays so, for it resumes. ``say`` then gets the line.
    """
    stopped = (run.status() or {}).get("status") in STOPPED
    run.set_status(status=INTERRUPTED if stopped else FAILED, pid=None, error=error)
    if stopped:
        say(f"{run.name}: {error}")
