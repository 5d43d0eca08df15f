"""Processes that end with the one that started them, whatever ended it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from acmix_exp.config import Config
from acmix_exp.data.ultralytics_home import DATASETS_VARIABLE, datasets_dir
from acmix_exp.yolo.environment import variables as ultralytics_variables


def child_environment(run_dir: Path, config: Config, gpu: int | None) -> dict[str, str]:
    """The user's environment, and for the child alone what keeps ultralytics and W&B quiet, private and in place."""
    own = run_dir / ".ultralytics"
    own.mkdir(parents=True, exist_ok=True)
    threads = str(config.hardware.threads)
    environment = {
        **os.environ,
        **ultralytics_variables(own.resolve()),
        DATASETS_VARIABLE: str(datasets_dir()),
        "YOLO_VERBOSE": "false",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
    }
    if gpu is None:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    else:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu].strip() if visible else str(gpu)
        environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    package_parent = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    return environment


GRACE_SECONDS = 3.0


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that spawned it is gone; at once where it is gone already.

    Linux only (prctl PR_SET_PDEATHSIG); elsewhere a no-op. The signal follows the spawning thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_group(pid: int) -> None:
    """End a process group led by ``pid``: SIGTERM, then SIGKILL for what is left (loader workers included)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            os.killpg(pid, 0)
            time.sleep(0.05)
        os.killpg(pid, signal.SIGKILL)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of a child that leads its own group: Ctrl-C reaches the parent alone, which ends the child."""
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return child.wait()
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """Terminate a child that leads its own group, wait for it, and kill what outlives it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
