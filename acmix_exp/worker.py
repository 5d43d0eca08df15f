"""The entry of every child process: ``python -m acmix_exp.worker TASK FOLDER``. See ``acmix_exp/child.py``.

TASK names a function that gets a Job and returns plain data; FOLDER, the run or experiment folder it works on, is there
for ``ps``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NoReturn

from acmix_exp import installed
from acmix_exp.child import Job, die_with_parent
from acmix_exp.errors import ConfigError, StorageError, one_line, storage_fault
from acmix_exp.run.claim import keep_alive

TASKS = {
    "train": "acmix_exp.run.training:work",
    "train_rank": "acmix_exp.yolo.rank_process:work",
    "evaluate": "acmix_exp.tasks.evaluate:work",
    "judge": "acmix_exp.tasks.judge:work",
    "export": "acmix_exp.tasks.export:work",
    "profile": "acmix_exp.tasks.profile:work",
    "repeat": "acmix_exp.tasks.repeat:work",
    "preflight": "acmix_exp.yolo.preflight:work",
    "download": "acmix_exp.yolo.sample_dataset:download",
    "ray": "acmix_exp.executors.ray_driver:work",
    "wandb_report": "acmix_exp.tracking.experiment_run:work",
}


def serve(load: Callable[[], Callable[[Job], Any]]) -> int:
    """Load the task's function, read the request, do the work and send the answer to the parent; the exit code.

    Loading comes first, because imports take seconds in which the parent may still be preparing the request.
    """
    header, environment = json.loads(sys.stdin.readline()), dict(os.environ)
    die_with_parent(header["parent"])
    os.set_inheritable(header["answers"], False)
    os.register_at_fork(after_in_child=partial(os.close, header["answers"]))  # else the parent sees no end of it
    with open(header["answers"], "w", encoding="utf-8", buffering=1) as pipe:

        def send(**values: Any) -> None:
            pipe.write(json.dumps(values) + "\n")

        folder = sys.argv[-1]
        try:
            _refuse_foreign(header["foreign"])
            work = load()
            _refuse_foreign(header["foreign"])
            order = json.loads(sys.stdin.readline())
            folder = order["folder"]
            if order["log"]:
                _print_to(order["log"], append=order["append"])
            if order["claim"]:
                threading.Thread(target=_keep, args=(Path(order["claim"]),), daemon=True).start()
            step = lambda text: send(step=text)  # noqa: E731
            send(value=work(Job(Path(folder), order["request"], header["device"], step, environment)))
        except Exception as error:
            fault = storage_fault(error, f"{folder} or {tempfile.gettempdir()}")
            faults = "; ".join(error.lines) if isinstance(error, ConfigError) else fault or one_line(error)
            send(error=faults, kind=StorageError.__name__ if fault else type(error).__name__)
            with contextlib.suppress(OSError):  # the log may be on the disk that is full
                traceback.print_exc()
            return 1
    return 0


def _keep(claim: Path) -> None:
    """Keep the claim on the run alive, even if the parent is suspended; end if another process has taken it over."""
    keep_alive(claim, threading.Event().wait)
    os._exit(1)


def _refuse_foreign(known: list[list[str]]) -> None:
    """Raise ConfigError for a module that is not of an installed package, unless the parent knows and allows it."""
    modules = [module for module in installed.found(sys.path) if [module.name, module.path] not in known]
    if lines := installed.refusals(modules, allowed=False, foreseen=False):
        raise ConfigError(*lines)


def _print_to(log: str, *, append: bool) -> None:
    """Send stdout and stderr, those of libraries and of child processes too, to a file.

    Every line goes to its end, because child processes may write to it too.
    """
    if not append:
        open(log, "wb").close()
    with open(log, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


def leave(code: int) -> NoReturn:
    """End this process without the second that a regular exit takes to free what torch imported."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    for each in gc.get_objects():  # wandb keeps some until the regular exit
        if type(each) is tempfile.TemporaryDirectory:
            each.cleanup()
    os._exit(code)


if __name__ == "__main__":
    leave(serve(lambda: resolve_name(TASKS[sys.argv[1]])))
