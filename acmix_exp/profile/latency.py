"""Latency of one forward pass."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

SECONDS = 0.4
WARM_UP_SECONDS = 0.2
WARM_UPS = 10  # largest number of warm-up passes; the smallest is 1
REPEATS = 200  # largest number of timed passes
FEWEST = 5  # smallest number of timed passes, for any duration of a pass
FEWEST_FOR_P95 = 20  # with fewer passes the 95th percentile would be the maximum


class Latency(NamedTuple):
    """Milliseconds of a forward pass: median and 95th percentile (None below FEWEST_FOR_P95) of ``passes`` passes."""

    median: float
    p95: float | None
    passes: int


def latency(
    model: nn.Module,
    imgsz: int,
    batch: int = 1,
    device: str | int | torch.device = "cpu",
    *,
    seconds: float | None = None,
    fewest: int = FEWEST,
) -> Latency:
    """Time a forward pass of a fused copy on float32 zeros (``batch``, 3, ``imgsz``, ``imgsz``); see ``latencies``."""
    return latencies({"": fused(model)}, imgsz, batch, device, seconds=seconds, fewest=fewest)[""]


def latencies(
    models: Mapping[str, nn.Module],
    imgsz: int,
    batch: int = 1,
    device: str | int | torch.device = "cpu",
    *,
    seconds: float | None = None,
    fewest: int = FEWEST,
) -> dict[str, Latency]:
    """Time several networks in alternation, pass by pass, so that a drift of the machine affects all of them.

    Each network gets float32 zeros (``batch``, 3, ``imgsz``, ``imgsz``) for about ``seconds`` seconds (None: 0.4) after
    a warm-up of 0.2 s, with at least ``fewest`` passes. The networks are moved to the device, in eval mode, and
    stay there. On CUDA a pass is timed by events. The number of threads is not changed.

    Raises ValueError for a batch or image size below 1, and what a forward pass raises.
    """
    if batch < 1 or imgsz < 1:
        raise ValueError(f"batch and imgsz must be at least 1, got batch={batch}, imgsz={imgsz}")
    device = torch.device(device)
    networks = {name: model.float().eval().to(device) for name, model in models.items()}
    images = torch.zeros(batch, 3, imgsz, imgsz, device=device)
    with torch.inference_mode():
        _rounds(networks, images, WARM_UP_SECONDS, 1, WARM_UPS)
        times = _rounds(networks, images, SECONDS if seconds is None else seconds, fewest, REPEATS)
    return {name: _latency(network_times) for name, network_times in times.items()}


def _latency(times: Sequence[float]) -> Latency:
    p95 = float(np.percentile(times, 95)) if len(times) >= FEWEST_FOR_P95 else None
    return Latency(float(np.median(times)), p95, len(times))


def fused(model: nn.Module) -> nn.Module:
    """A float32 copy in eval mode, fused if the model has a method ``fuse``."""
    copied = copy.deepcopy(model).float().eval()
    fuse = getattr(copied, "fuse", None)
    if not callable(fuse):
        return copied
    # By default ultralytics prints a summary of the model.
    quiet = {"verbose": False} if "verbose" in inspect.signature(fuse).parameters else {}
    result = fuse(**quiet)
    return result if isinstance(result, nn.Module) else copied


def _rounds(
    networks: Mapping[str, nn.Module], images: torch.Tensor, seconds: float, fewest: int, most: int
) -> dict[str, list[float]]:
    """Milliseconds of each pass by network; a network that has reached its seconds and fewest passes is skipped."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(most):
        unfinished = [name for name, passes in times.items() if sum(passes) < seconds * 1e3 or len(passes) < fewest]
        if not unfinished:
            break
        for name in unfinished:
            times[name].append(_milliseconds(networks[name], images))
    return times


def _milliseconds(model: nn.Module, images: torch.Tensor) -> float:
    if images.device.type != "cuda":
        start_time = time.perf_counter()
        model(images)
        return (time.perf_counter() - start_time) * 1e3
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(images.device)
    start.record()
    model(images)
    end.record()
    torch.cuda.synchronize(images.device)
    return float(start.elapsed_time(end))
