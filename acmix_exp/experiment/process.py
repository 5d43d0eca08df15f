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
