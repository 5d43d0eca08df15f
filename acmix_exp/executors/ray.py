"""Ray executor: one Ray task per run, on any node of a cluster whose nodes share the folder of the runs.

``ray_driver`` does it, in a child process. It ends with this process, and the runs that are at work with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from acmix_exp.child import Child, require
from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError
from acmix_exp.executors.job import variables
from acmix_exp.executors.ray_driver import STEPS, STOP_SECONDS
from acmix_exp.run.directory import Run

IMPORT_SECONDS = 120.0  # to import Ray on a machine that is busy
START_SECONDS = 120.0  # to start a Ray of one's own
ADDRESS_SECONDS = 10.0  # for a given address to answer
END_SECONDS = 15.0
# Of the child. Ray reports usage statistics over the network unless it is told not to.
RAY_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_DEDUP_LOGS": "0"}
JOB = "acmix_exp.executors.ray_job"


class RayExecutor:
    """An Executor whose runs are Ray tasks, of which ``hardware.runs_at_once`` are submitted at a time."""

    def __init__(self, runs: Sequence[Run], hardware: HardwareConfig) -> None:
        """Connect to the cluster, or start one. Raises ConfigError if that is not possible."""
        self._steps = threading.Semaphore(0)  # of the connection, as they are made
        self._runs = list(runs)
        self._address, self._at_once, self._ended = hardware.ray.address, hardware.runs_at_once, False
        request = _request(runs, hardware)
        self._child = Child("ray", runs[0].path.parent, request, on_step=self._on_step, variables=RAY_VARIABLES)
        self._child.__enter__()
        self._await_step(IMPORT_SECONDS)
        self._await_step(START_SECONDS if hardware.ray.address == "auto" else ADDRESS_SECONDS)

    def start(self) -> None:
        self._child.send({})

    def wait(self, seconds: float) -> bool:
        if not self._ended and self._child.ended(seconds):
            self._ended = True
            if error := self._child.answer().error:
                print(f"acmix_exp: the Ray cluster was lost: {error}", file=sys.stderr)
                self._await_ends()
        return self._ended

    def interrupt(self) -> str | None:
        if not self._child.ended(0):
            os.kill(self._child.pid, signal.SIGTERM)  # not its group, which may hold the processes of Ray
            self._child.ended(STOP_SECONDS)
        self._child.__exit__()
        if not self._ended:
            self._await_ends()
        return None

    def at_once(self) -> int:
        return int(self._at_once)

    def notes(self) -> dict[str, str]:
        return {}

    def _on_step(self, step: str) -> None:
        if step in STEPS:
            self._steps.release()
        else:
            print(f"acmix_exp: {step}", file=sys.stderr, flush=True)

    def _await_ends(self) -> None:
        """Wait until the processes of the runs have ended, which Ray kills, so that the statuses are true."""
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline and any(run.state() == "running" for run in self._runs):
            time.sleep(0.2)

    def _await_step(self, seconds: float) -> None:
        """Wait until the child has imported Ray, or until it has connected. Raises its ConfigError."""
        deadline = time.monotonic() + seconds
        while not self._steps.acquire(timeout=0.1):
            if self._child.ended(0):
                require(self._child.answer(), "the connection to Ray")
            if time.monotonic() > deadline:
                self._child.__exit__()
                raise ConfigError(f"hardware.ray.address={self._address}: no answer within {seconds:g} seconds")


def _request(runs: Sequence[Run], hardware: HardwareConfig) -> dict[str, Any]:
    return {
        "address": hardware.ray.address,
        "runs": [str(run.path.absolute()) for run in runs],
        "runs_at_once": hardware.runs_at_once,
        "cpus": hardware.ray.cpus,
        "gpus": 0.0 if hardware.device == "cpu" else hardware.gpus_per_run,
        "retries": hardware.ray.retries,
        "command": [sys.executable, "-m", JOB],
        "environment": variables(),
        "folder": os.getcwd(),
    }
