"""Milliseconds and bandwidth: medians of many, taken in turn so that a drift of the machine meets all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.verify import Verified

WARM_UPS = 2
SECONDS = 1.5  # measured for each contender and step, more where LEAST takes longer
LEAST = 7
MOST = 200
FLUSH_BYTES = 2**28  # written before a measurement on a GPU: larger than its cache
COPY_BYTES = 2**28
HEAD_START = 2_000_000  # cycles, about a millisecond, that a GPU sleeps while launches queue up behind
STEPS = ("forward", "training")


def timings(contenders: Sequence[Verified], step: str, device: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Milliseconds of the step ("forward" without autograd, "training" forward and backward) of each contender.

    One after another, round by round, until each has its seconds: median, quartiles and number of rounds.
    """
    if not all(isinstance(contender, Verified) for contender in contenders):
        raise TypeError("only what verify() returned is timed")
    steps: list[Callable[[], None]] = [getattr(contender, step) for contender in contenders]
    timed = clock(device)
    for function in steps * WARM_UPS:
        function()
    times: list[list[float]] = [[] for _ in steps]

    def unfinished(taken: list[float]) -> bool:
        return len(taken) < LEAST or (sum(taken) < seconds * 1e3 and len(taken) < MOST)

    while any(unfinished(taken) for taken in times):
        for function, taken in zip(steps, times, strict=True):
            if unfinished(taken):
                taken.append(timed(function))
    return [_summary(taken) for taken in times]


def copy_bandwidth(device: str) -> float:
    """GB/s of a copy of 256 MiB, read and written bytes together: the roof over whatever moves memory."""
    source = torch.rand(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    timed = clock(device)
    taken = [timed(lambda: target.copy_(source)) for _ in range(20)]
    return 2 * COPY_BYTES / statistics.median(taken[5:]) / 1e6


def _summary(taken: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return {"median_ms": median, "quartiles_ms": [low, high], "rounds": len(taken)}


def clock(device: str) -> Callable[[Callable[[], object]], float]:
    """What gives the milliseconds of a call."""
    return _cuda_clock() if device != "cpu" else _host_clock


def _host_clock(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1e3


def _cuda_clock() -> Callable[[Callable[[], object]], float]:
    """Time on the device: what Python takes to launch is hidden as far as the head start goes, for all alike."""
    cache = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")

    def timed(function: Callable[[], object]) -> float:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        cache.zero_()
        torch.cuda._sleep(HEAD_START)
        began.record()
        function()
        ended.record()
        torch.cuda.synchronize()
        return float(began.elapsed_time(ended))

    return timed
