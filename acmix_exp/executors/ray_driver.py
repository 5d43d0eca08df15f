"""Child process that hands runs to a Ray cluster, one Ray task per run, and waits for them.

It is a process of its own because Ray ends the process that uses it when the cluster is lost, and has signal handlers
of its own. A task starts ``acmix_exp.executors.ray_job`` on its node; the outcome of a run is in its status.json.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from acmix_exp.child import Job, describe_exit
from acmix_exp.errors import ConfigError, one_line
from acmix_exp.executors.job import CODES, record_not_begun
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, FAILED, KILLED

WAIT_SECONDS = 1.0
BUSY_SECONDS = 30.0  # between two attempts at a run that another command is at work on
STEPS = IMPORTED, CONNECTED = "connecting", "connected"  # of the connection; other steps are lines to show
STOP_SECONDS = 30.0  # for the runs to be interrupted after this process is told to end


def run_job(command: list[str], environment: dict[str, str], folder: str) -> tuple[int, str]:
    """The Ray task, which runs in a process of Ray on the node: start the job and wait for it.

    Returns its exit code and the last line that it printed. A cancelled task interrupts its job, which then interrupts
    the run. It imports nothing of this package, so that nothing of it needs to be on Ray's own import path.
    """
    import os
    import signal
    import subprocess
    import tempfile
    import time

    signal.signal(signal.SIGINT, signal.default_int_handler)  # cancels the task; nohup has it ignored
    command, variables = [*command, str(os.getpid())], {**os.environ, **environment}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(command, env=variables, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        except OSError as error:
            return 1, str(error)
        try:
            while (code := process.poll()) is None:
                time.sleep(0.2)  # a cancelled task is not interrupted while it waits in one call
        except BaseException:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            process.terminate()
            process.wait()
            raise
        output.seek(0)
        lines = output.read().decode(errors="replace").split("\n")
        return code, next((line for line in reversed(lines) if line.strip()), "")


def work(job: Job) -> None:
    """Connect to the cluster of the request's ``address``, say so by a step, and train the ``runs`` to their ends.

    Raises ConfigError if there is no such cluster, or if it has less than a run needs.
    """
    import ray

    request = job.request
    job.step(IMPORTED)
    with contextlib.redirect_stdout(sys.stderr):
        _connect(ray, request)
    resources = ray.cluster_resources()
    needs = {"CPU": request["cpus"], "GPU": request["gpus"]}
    for kind, key in (("CPU", "hardware.ray.cpus"), ("GPU", "hardware.gpus_per_run")):
        if resources.get(kind, 0) < needs[kind]:
            cure = "; hardware.device=cpu requests none" if kind == "GPU" else ""
            raise ConfigError(
                f"{key}={needs[kind]:g}: the Ray cluster has {resources.get(kind, 0):g} {kind}s in all{cure}"
            )
    signal.signal(signal.SIGTERM, _stop)
    try:
        job.step(CONNECTED)
        sys.stdin.readline()  # the parent prepares the runs meanwhile
        Tasks(ray, request, say=job.step).finish()
    finally:
        ray.shutdown()


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _connect(ray: Any, request: dict[str, Any]) -> None:
    """Connect to a running cluster; with ``address: auto`` to one of this machine, or to one that is started."""
    settings = {"logging_level": "ERROR", "log_to_driver": False, "namespace": "acmix_exp"}
    address = os.environ.get("RAY_ADDRESS") if request["address"] == "auto" else request["address"]
    try:
        ray.init(address=address or "auto", **settings)
    except Exception as error:
        if address:
            raise ConfigError(f"hardware.ray.address={address}: no Ray cluster answers ({one_line(error)})") from None
        ray.init(include_dashboard=False, object_store_memory=100 * 2**20, **settings)


class Tasks:
    """The Ray tasks of the runs: at most ``runs_at_once`` at a time, each repeated if its worker or node is lost.

    ``say`` gets a line for each that is.
    """

    def __init__(self, ray: Any, request: dict[str, Any], say: Callable[[str], None]) -> None:
        self._ray, self._request, self._say = ray, request, say
        self._waiting = deque((Run(Path(run)), 0) for run in request["runs"])  # with how often a worker of it was lost
        self._busy: list[tuple[float, Run, int]] = []  # and when to try again
        self._tasks: dict[Any, tuple[Run, int]] = {}
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._remote = ray.remote(run_job).options(
            num_cpus=request["cpus"], num_gpus=request["gpus"], max_retries=0, scheduling_strategy="SPREAD"
        )

    def finish(self) -> None:
        """Return when every run has ended; interrupt those at work if this process is told to end."""
        try:
            while self._waiting or self._busy or self._tasks:
                self._submit()
                if not self._tasks:
                    time.sleep(WAIT_SECONDS)
                    continue
                ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=WAIT_SECONDS)
                for task in ready:
                    self._conclude(task, *self._tasks.pop(task))
        except BaseException:
            self._cancel()
            raise

    def _submit(self) -> None:
        now = time.monotonic()
        self._waiting.extend((run, losses) for at, run, losses in self._busy if at <= now)
        self._busy = [entry for entry in self._busy if entry[0] > now]
        while self._waiting and len(self._tasks) < self._request["runs_at_once"]:
            run, losses = self._waiting.popleft()
            command = [*self._request["command"], str(run.path)]
            task = self._remote.remote(command, self._request["environment"], self._request["folder"])
            self._tasks[task] = run, losses

    def _conclude(self, task: Any, run: Run, losses: int) -> None:
        try:
            code, said = self._ray.get(task)
        except self._ray.exceptions.LocalRayletDiedError:  # the cluster is lost
            raise
        except Exception as error:  # the worker was killed, or its node is lost
            self._repeat(run, losses + 1, one_line(error))
            return
        if code == CODES[BUSY]:
            self._try_later(run, losses)
        elif code < 0:
            self._repeat(run, losses + 1, f"its job {describe_exit(code)}")
        elif code not in CODES.values():
            with run.lock() as claim:
                if claim:
                    why = said or describe_exit(code)
                    record_not_begun(run, f"its job ended before the run began: {why}", self._say)

    def _repeat(self, run: Run, losses: int, why: str) -> None:
        most = self._request["retries"]
        if losses <= most:
            self._say(f"{run.name}: {why}; it is tried again, for the {losses}. time")
            self._waiting.append((run, losses))
            return
        with run.lock() as claim:
            if claim:
                lost = f"the loss of its Ray worker, {losses} times (hardware.ray.retries={most})"
                run.set_status(status=FAILED, pid=None, error=f"{KILLED}{lost}: {why}")
            else:
                self._try_later(run, losses)

    def _try_later(self, run: Run, losses: int) -> None:
        """Try a run again once the process that is at work on it may have let go."""
        self._busy.append((time.monotonic() + BUSY_SECONDS, run, losses))

    def _cancel(self) -> None:
        with contextlib.suppress(Exception):
            for task in self._tasks:
                self._ray.cancel(task)
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=STOP_SECONDS)
