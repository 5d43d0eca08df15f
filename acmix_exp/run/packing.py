"""How many runs train side by side: ``hardware.runs_at_once``, or with ``auto`` as many as the memory holds.

With ``auto`` one run per GPU begins, on a CPU one in all. The memory in use after its first epoch decides for the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from acmix_exp.config import HardwareConfig
from acmix_exp.run import devices
from acmix_exp.yolo.arguments import MOST_ON_A_GPU, rank_count

AUTO = "auto"
SHARE = 0.9  # of the memory, which the runs together may fill
CGROUP = Path("/sys/fs/cgroup")


def smallest(hardware: HardwareConfig) -> int:
    """How many runs train at once before the memory of one is known. Raises ConfigError as ``devices.gpus``."""
    if hardware.runs_at_once != AUTO:
        return int(hardware.runs_at_once)
    return max(1, len(devices.gpus(hardware)) // rank_count(hardware))


def largest(hardware: HardwareConfig) -> int:
    """How many runs ``auto`` may choose: 4 on a GPU, on a CPU as many as the cores have threads for."""
    if hardware.runs_at_once != AUTO:
        return int(hardware.runs_at_once)
    if devices.gpus(hardware):
        return MOST_ON_A_GPU * smallest(hardware)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (hardware.threads * rank_count(hardware)))


def that_fit(hardware: HardwareConfig, memory: Mapping[str, Any]) -> int:
    """How many runs at once fill no more than SHARE of the memory. memory: of :func:`in_use`."""
    each = int(SHARE * memory["total_mb"] / max(1, memory["used_mb"]))
    groups = smallest(hardware)  # of GPUs, each with a memory of its own
    return max(groups, min(largest(hardware), each * groups))


def in_use(device: int | str) -> dict[str, Any]:
    """Memory that a run takes, and that it could have, in MiB. Call it in the process that trains.

    On a GPU all that is taken there, by other programs too; on a CPU that of the process and its loaders, in which
    shared pages count for each.
    """
    if device != "cpu":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        return _facts(total - free, total)
    import psutil

    own = psutil.Process()
    used = 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):
            used += process.memory_info().rss
    return _facts(used, used + min(psutil.virtual_memory().available, _left_of_cgroup()))


def _left_of_cgroup() -> float:
    """Bytes below the limit of this process's container; infinite without one."""
    try:
        limit, current = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return float("inf") if limit == "max" else max(0, int(limit) - int(current))
    except (OSError, ValueError):
        return float("inf")


def _facts(used: float, total: float) -> dict[str, Any]:
    return {"used_mb": round(used / 2**20), "total_mb": round(total / 2**20), "time": time.time()}
