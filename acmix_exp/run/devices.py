"""The devices of a config, and GPU slots: which of several parallel runs uses which GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
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


def kind(hardware: HardwareConfig) -> str:
    """``cuda`` or ``cpu``: what the runs of a config train on.

    An executor other than this machine asks for a GPU unless the config says ``cpu``; what this machine has does not
    count then. Raises ConfigError as :func:`gpus`.
    """
    if hardware.executor == "local":
        return "cuda" if gpus(hardware) else "cpu"
    if hardware.device not in ("auto", "cuda", "cpu"):
        raise ConfigError(
            f"hardware.device={hardware.device}: must be cuda or cpu with hardware.executor={hardware.executor}, "
            "which chooses the GPU itself"
        )
    return "cpu" if hardware.device == "cpu" else "cuda"


def given(hardware: HardwareConfig) -> list[int]:
    """Indices of the GPUs that a scheduler has given to this process; empty for the CPU.

    Raises ConfigError if it should have given one.
    """
    if hardware.device == "cpu":
        return []
    if not cuda_devices():
        raise ConfigError(
            f"hardware.device={hardware.device}: no CUDA GPU on {platform.node()} for this job (CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')}); hardware.device=cpu requests none"
        )
    return list(range(cuda_devices()))


@contextlib.contextmanager
def gpu_of_run(hardware: HardwareConfig, stop: threading.Event, *, scheduled: bool) -> Iterator[int | None]:
    """Hold and yield the GPU of a run, None on the CPU. scheduled: a scheduler has given this process its own.

    Raises ConfigError if there is none, and as :func:`gpu_slot`.
    """
    if scheduled:
        yield next(iter(given(hardware)), None)
        return
    with gpu_slot(gpus(hardware), hardware.runs_at_once, stop) as gpu:
        yield gpu


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
