"""Ray executor: one Ray task per run, on any node of a cluster whose nodes share the folder of the runs.

``ray_driver`` does it, in a child process. It ends with this process, and the runs that are at work with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from acmix_exp.child import Child, own_variables, require
from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError
from acmix_exp.executors.ray_driver import STOP_SECONDS
from acmix_exp.run.directory import Run

START_SECONDS = 60.0  # to start a Ray of one's own
ADDRESS_SECONDS = 10.0  # for a given address to answer
# Ray reports usage statistics over the network unless it is told not to.
VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_DEDUP_LOGS": "0"}
JOB = "acmix_exp.executors.ray_job"


class RayExecutor:
    """An Executor whose runs are Ray tasks, of which ``hardware.runs_at_once`` are submitted at a time."""

    def __init__(self, runs: Sequence[Run], hardware: HardwareConfig) -> None:
        """Connect to the cluster, or start one. Raises ConfigError if that is not possible."""
        self._connected, self._ended = threading.Event(), False
        self._child = Child(
            "ray", runs[0].path.parent, _request(runs, hardware), on_step=self._note_step, variables=VARIABLES
        )
        self._child.__enter__()
        limit = START_SECONDS if hardware.ray.address == "auto" else ADDRESS_SECONDS
        deadline = time.monotonic() + limit
        while not self._connected.is_set():
            if self._child.ended(0.05):
                require(self._child.answer(), "the connection to Ray")
            if time.monotonic() > deadline:
                self._child.__exit__()
                raise ConfigError(f"hardware.ray.address={hardware.ray.address}: no answer within {limit:g} seconds")

    def start(self) -> None:
        self._child.send({})

    def wait(self, seconds: float) -> bool:
        if not self._ended and self._child.ended(seconds):
            self._ended = True
            if error := self._child.answer().error:
                print(f"acmix_exp: the Ray cluster was lost: {error}", file=sys.stderr)
        return self._ended

    def interrupt(self) -> str | None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGTERM)  # not its group, which may hold the processes of Ray
        self._child.ended(STOP_SECONDS)
        self._child.__exit__()
        return None

    def notes(self) -> dict[str, str]:
        return {}

    def _note_step(self, step: str) -> None:
        self._connected.set()


def _request(runs: Sequence[Run], hardware: HardwareConfig) -> dict[str, Any]:
    gpus = 0.0 if hardware.device == "cpu" else hardware.gpus_per_run
    environment = {"PYTHONPATH": own_variables(hardware.threads, None)["PYTHONPATH"]}
    return {
        "address": hardware.ray.address,
        "runs": [str(run.path.absolute()) for run in runs],
        "runs_at_once": hardware.runs_at_once,
        "cpus": hardware.ray.cpus,
        "gpus": gpus,
        "retries": hardware.ray.retries,
        "command": [sys.executable, "-m", JOB],
        "environment": environment,
        "folder": os.getcwd(),
    }
