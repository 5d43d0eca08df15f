"""How long one forward takes."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

SECONDS = 1.0
WARM_UP_SECONDS = 0.5
WARM_UPS = 10  # at most; at least one
REPEATS = 200  # at most
FEWEST = 5  # however long a pass takes
FEWEST_FOR_P95 = 20  # of fewer passes the 95th percentile would be the slowest one


class Latency(NamedTuple):
    """Milliseconds of a forward pass: the median and the 95th percentile of ``passes`` passes; p95 is None below
    FEWEST_FOR_P95 passes."""

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
    """Time a forward of zeros (``batch``, 3, ``imgsz``, ``imgsz``), float32, of a fused copy; see ``latencies``."""
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
    """Time networks side by side: they take turns, pass by pass, so that a drift of the machine meets all of them.

    Each gets float32 zeros (``batch``, 3, ``imgsz``, ``imgsz``) and about ``seconds`` seconds (one where not given)
    after a warm-up of half a second, at least ``fewest`` passes each. The networks are moved to the device, in eval
    mode, and left there. On CUDA a pass is timed by events; the number of threads is left as the caller set it.

    Raises ValueError for a batch or image size below 1, and what a forward raises.
    """
    if batch < 1 or imgsz < 1:
        raise ValueError(f"batch and imgsz must be at least 1, got batch={batch}, imgsz={imgsz}")
    where = torch.device(device)
    networks = {name: model.float().eval().to(where) for name, model in models.items()}
    images = torch.zeros(batch, 3, imgsz, imgsz, device=where)
    with torch.inference_mode():
        _rounds(networks, images, WARM_UP_SECONDS, 1, WARM_UPS)
        times = _rounds(networks, images, SECONDS if seconds is None else seconds, fewest, REPEATS)
    return {name: _latency(found) for name, found in times.items()}


def _latency(times: Sequence[float]) -> Latency:
    p95 = float(np.percentile(times, 95)) if len(times) >= FEWEST_FOR_P95 else None
    return Latency(float(np.median(times)), p95, len(times))


def fused(model: nn.Module) -> nn.Module:
    """A float32 eval copy, fused where the model offers ``fuse()``."""
    copied = copy.deepcopy(model).float().eval()
    fuse = getattr(copied, "fuse", None)
    if not callable(fuse):
        return copied
    # ultralytics prints a summary of the model unless asked not to
    quiet = {"verbose": False} if "verbose" in inspect.signature(fuse).parameters else {}
    result = fuse(**quiet)
    return result if isinstance(result, nn.Module) else copied


def _rounds(
    networks: Mapping[str, nn.Module], images: torch.Tensor, seconds: float, fewest: int, most: int
) -> dict[str, list[float]]:
    """Milliseconds of each pass, by network; a network that has had its seconds and fewest passes sits out."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(most):
        waiting = [name for name, found in times.items() if sum(found) < seconds * 1e3 or len(found) < fewest]
        if not waiting:
            break
        for name in waiting:
            times[name].append(_milliseconds(networks[name], images))
    return times


def _milliseconds(model: nn.Module, images: torch.Tensor) -> float:
    if images.device.type != "cuda":
        began = time.perf_counter()
        model(images)
        return (time.perf_counter() - began) * 1e3
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(images.device)
    start.record()
    model(images)
    end.record()
    torch.cuda.synchronize(images.device)
    return float(start.elapsed_time(end))
