"""How long one forward takes."""

from __future__ import annotations

import copy
import inspect
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

WARM_UP_SECONDS = 0.5
SECONDS = 1.0
WARM_UPS = 10  # at most; at least one
REPEATS = 100  # at most; at least one


def latency(model: nn.Module, imgsz: int, batch: int = 1, device: str | int | torch.device = "cpu") -> float:
    """Median milliseconds of a forward of zeros (``batch``, 3, ``imgsz``, ``imgsz``), float32.

    Measured on a deep copy in eval mode, fused where the model offers ``fuse()``, after a warm-up; CUDA is
    synchronised around every pass. About 3 s in all, more only where two passes take longer. The number of
    threads is left as the caller set it.

    Raises ValueError for a batch or image size below 1, and what the model's forward raises.
    """
    if batch < 1 or imgsz < 1:
        raise ValueError(f"batch and imgsz must be at least 1, got batch={batch}, imgsz={imgsz}")
    where = torch.device(device)
    network = _fused(copy.deepcopy(model).float().eval()).to(where)
    images = torch.zeros(batch, 3, imgsz, imgsz, device=where)
    with torch.inference_mode():
        _repeat(lambda: _milliseconds(network, images, where), WARM_UP_SECONDS, 1, WARM_UPS)
        return statistics.median(_repeat(lambda: _milliseconds(network, images, where), SECONDS, 1, REPEATS))


def _fused(model: nn.Module) -> nn.Module:
    fuse = getattr(model, "fuse", None)
    if not callable(fuse):
        return model
    # ultralytics prints a summary of the model unless asked not to
    quiet = {"verbose": False} if "verbose" in inspect.signature(fuse).parameters else {}
    fused = fuse(**quiet)
    return fused if isinstance(fused, nn.Module) else model


def _milliseconds(model: nn.Module, images: torch.Tensor, device: torch.device) -> float:
    _synchronize(device)
    began = time.perf_counter()
    model(images)
    _synchronize(device)
    return (time.perf_counter() - began) * 1e3


def _repeat(measure: Callable[[], float], seconds: float, least: int, most: int) -> list[float]:
    end = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        times.append(measure())
    return times


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
