"""The devices of a config, and GPU slots: which of several parallel runs uses which GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError, Stopped
from acmix_exp.files import locked

SLOT_SECONDS = 0.5  # between two attempts to lock a free slot


@lru_cache(maxsize=1)
def cuda_devices() -> int:
    """Number of GPUs that the CUDA driver offers this process, given CUDA_VISIBLE_DEVICES; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def gpus(hardware: HardwareConfig) -> list[int]:
    """Indices of the GPUs of a config; empty for the CPU.

    Raises ConfigError if ``hardware.device`` is not a device, or not one of this machine.
    """
    device, present = hardware.device, cuda_devices()
    if device == "cpu" or (device == "auto" and not present):
        return []
    if device in ("auto", "cuda"):
        wanted = list(range(present)) if hardware.runs_at_once > 1 else [0]
    elif type(device) is int:
        wanted = [device]
    elif isinstance(device, list) and device and all(type(i) is int for i in device):
        wanted = device
    else:
        raise ConfigError(
            f"hardware.device={device}: must be auto, cpu, cuda, a GPU index, or a list of them such as [0,1]"
        )
    if not present:
        raise ConfigError(f"hardware.device={device}: no CUDA GPU on this machine; use hardware=cpu or hardware=auto")
    if any(not 0 <= i < present for i in wanted):
        raise ConfigError(f"hardware.device={device}: this machine has GPU indices 0 to {present - 1}")
    if len(wanted) > 1 and hardware.runs_at_once == 1:
        raise ConfigError(
            f"hardware.device={device}: one run uses one GPU; use hardware.runs_at_once={len(wanted)} to use all"
        )
    return wanted


@contextlib.contextmanager
def gpu_slot(gpus: Sequence[int], runs_at_once: int, stop: threading.Event | None = None) -> Iterator[int | None]:
    """Wait for, hold and yield one GPU index; None at once if there are no GPUs.

    A GPU has ceil(runs_at_once / number of GPUs) slots, shared by all commands of a user on the machine. A slot is a
    lock file, so a killed process frees its slot. Raises Stopped if ``stop`` is set while waiting.
    """
    if not gpus:
        yield None
        return
    folder = Path(tempfile.gettempdir()) / f"acmix_exp-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    slots_per_gpu = -(-runs_at_once // len(gpus))
    while True:
        for slot in range(slots_per_gpu):
            for gpu in gpus:
                with locked(folder / f"gpu{gpu}.{slot}", wait=False) as held:
                    if held is not False:
                        yield gpu
                        return
        if stop is None:
            time.sleep(SLOT_SECONDS)
        elif stop.wait(SLOT_SECONDS):
            raise Stopped
