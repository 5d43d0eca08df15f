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
from acmix_exp.yolo.arguments import rank_count

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
    each = rank_count(hardware)
    if device in ("auto", "cuda"):
        wanted = list(range(max(present, each) if hardware.runs_at_once != 1 else each))
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
    if device in ("auto", "cuda") and each > present:
        raise ConfigError(f"hardware.gpus_per_run={each}: this machine has {present} GPU{'s' * (present > 1)}")
    if any(not 0 <= i < present for i in wanted):
        raise ConfigError(f"hardware.device={device}: this machine has GPU indices 0 to {present - 1}")
    if len(set(wanted)) < each:
        raise ConfigError(f"hardware.gpus_per_run={each}: hardware.device={device} names {len(set(wanted))}")
    if len(wanted) > each and hardware.runs_at_once == 1:
        uses = "one GPU" if each == 1 else f"hardware.gpus_per_run={each} GPUs"
        raise ConfigError(
            f"hardware.device={device}: one run uses {uses}; use hardware.runs_at_once={len(wanted) // each} to use "
            f"{'all' if each == 1 else 'more, or name as many'}"
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


def gpus_of_job(hardware: HardwareConfig) -> list[int]:
    """Indices of the GPUs that a scheduler has given to this process; empty for the CPU.

    Raises ConfigError if it should have given one, or more.
    """
    if hardware.device == "cpu":
        return []
    present, each = cuda_devices(), rank_count(hardware)
    if present and present < each:
        raise ConfigError(f"hardware.gpus_per_run={each}: this job was given {present} on {platform.node()}")
    if not present:
        raise ConfigError(
            f"hardware.device={hardware.device}: no CUDA GPU on {platform.node()} for this job (CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')}); hardware.device=cpu requests none"
        )
    return list(range(present))


@contextlib.contextmanager
def gpus_of_run(hardware: HardwareConfig, stop: threading.Event, *, scheduled: bool) -> Iterator[list[int] | None]:
    """Hold and yield the GPUs of a run, None on the CPU. scheduled: a scheduler has given this process its own.

    Raises ConfigError if there are none, or too few, and as :func:`gpu_slots`.
    """
    each = rank_count(hardware)
    if scheduled:
        yield gpus_of_job(hardware)[:each] or None
        return
    with gpu_slots(gpus(hardware), hardware.runs_at_once, each, stop) as held:
        yield held or None


@contextlib.contextmanager
def gpu_slot(gpus: Sequence[int], runs_at_once: int, stop: threading.Event | None = None) -> Iterator[int | None]:
    """Wait for, hold and yield one GPU index; None at once if there are no GPUs. Raises as :func:`gpu_slots`."""
    with gpu_slots(gpus, runs_at_once, 1, stop) as held:
        yield held[0] if held else None


@contextlib.contextmanager
def gpu_slots(
    gpus: Sequence[int], runs_at_once: int, each: int, stop: threading.Event | None = None
) -> Iterator[list[int]]:
    """Wait for, hold and yield ``each`` different GPU indices; none at once if there are no GPUs.

    A GPU has ceil(runs_at_once * each / number of GPUs) slots, shared by all commands of a user on the machine. A slot
    is a lock file, so a killed process frees its slots. A run takes all that it needs or none, so that no two wait for
    each other. Raises Stopped if ``stop`` is set while waiting.
    """
    if not gpus:
        yield []
        return
    folder = Path(tempfile.gettempdir()) / f"acmix_exp-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        with contextlib.ExitStack() as slots:
            if held := _take(folder, gpus, -(-runs_at_once * each // len(gpus)), each, slots):
                yield held
                return
        if stop is None:
            time.sleep(SLOT_SECONDS)
        elif stop.wait(SLOT_SECONDS):
            raise Stopped


def _take(folder: Path, gpus: Sequence[int], per_gpu: int, each: int, slots: contextlib.ExitStack) -> list[int]:
    """Lock ``each`` free slots of different GPUs; none if there are fewer. One process at a time tries."""
    with locked(folder / "gpus"):
        held: list[int] = []
        for slot in range(per_gpu):
            for gpu in gpus:
                if gpu in held or slots.enter_context(locked(folder / f"gpu{gpu}.{slot}", wait=False)) is False:
                    continue
                held.append(gpu)
                if len(held) == each:
                    return sorted(held)
        slots.close()
        return []
