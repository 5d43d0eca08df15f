"""Which device a run gets, found without torch: by the CUDA driver."""

from __future__ import annotations

import ctypes
from functools import lru_cache

from acmix_exp.config import ConfigError, HardwareConfig


@lru_cache(maxsize=1)
def cuda_devices() -> int:
    """How many GPUs the CUDA driver offers this process (it honours CUDA_VISIBLE_DEVICES); 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def gpus(hardware: HardwareConfig) -> list[int]:
    """Indices of the GPUs that the config asks for; empty means CPU.

    Raises ConfigError where ``hardware.device`` is no device, or not one of this machine.
    """
    device, present = hardware.device, cuda_devices()
    if device == "cpu":
        return []
    if device == "auto":
        return list(range(present)) if hardware.runs_at_once > 1 else list(range(min(present, 1)))
    if device == "cuda":
        wanted = list(range(present)) if hardware.runs_at_once > 1 else [0]
    elif isinstance(device, int) and not isinstance(device, bool):
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
            f"hardware.device={device}: one run uses one GPU; use hardware=pool hardware.runs_at_once={len(wanted)} "
            "to keep them all busy"
        )
    return wanted


def precision(hardware: HardwareConfig) -> str:
    """fp32, fp16 or bf16, with ``auto`` settled: fp16 on a GPU, fp32 on a CPU."""
    if hardware.precision != "auto":
        return hardware.precision
    return "fp16" if gpus(hardware) else "fp32"
