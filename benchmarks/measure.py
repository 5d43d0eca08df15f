"""Milliseconds and bandwidth: medians of many rounds, in turn, so that a drift of the machine affects all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.verify import Verified

WARM_UPS = 2
SECONDS = 1.5  # per contender and step; more if LEAST rounds take longer
LEAST, MOST = 7, 200  # rounds
FLUSH_BYTES = 2**28  # written before each round on a GPU; larger than its cache
COPY_BYTES = 2**28
HEAD_START = 2_000_000  # cycles, about a millisecond, that a GPU sleeps while launches queue up
STEPS = ("forward", "training")


def timings(contenders: Sequence[Verified], step: str, device: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Milliseconds of the step ("forward" without autograd, "training" forward and backward) of each contender.

    The contenders run in turn until each has used its seconds. Returns median, quartiles and number of rounds.
    """
    if not all(isinstance(contender, Verified) for contender in contenders):
        raise TypeError("contenders must be verified by verify() before they are timed")
    steps: list[Callable[[], None]] = [getattr(contender, step) for contender in contenders]
    timed = clock(device)
    for function in steps * WARM_UPS:
        function()
    times: list[list[float]] = [[] for _ in steps]

    def unfinished(rounds: list[float]) -> bool:
        return len(rounds) < LEAST or (sum(rounds) < seconds * 1e3 and len(rounds) < MOST)

    while any(unfinished(rounds) for rounds in times):
        for function, rounds in zip(steps, times, strict=True):
            if unfinished(rounds):
                rounds.append(timed(function))
    return [_summary(rounds) for rounds in times]


def copy_bandwidth(device: str) -> float:
    """GB/s of a copy of 256 MiB, bytes read and written: the upper bound of every operation that moves memory."""
    source = torch.rand(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    timed = clock(device)
    rounds = [timed(lambda: target.copy_(source)) for _ in range(20)]
    return 2 * COPY_BYTES / statistics.median(rounds[5:]) / 1e6


def _summary(rounds: list[float]) -> dict[str, Any]:
    low, median, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return {"median_ms": median, "quartiles_ms": [low, high], "rounds": len(rounds)}


def clock(device: str) -> Callable[[Callable[[], object]], float]:
    """A function that returns the milliseconds of a call."""
    return _cuda_clock() if device != "cpu" else _host_clock


def _host_clock(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1e3


def _cuda_clock() -> Callable[[Callable[[], object]], float]:
    """Time on the device; the time that Python takes to launch is hidden by the head start."""
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
