"""The costs of a network as a run's result and the cost table have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from acmix_exp.profile.count import Site, count
from acmix_exp.profile.latency import FEWEST, FEWEST_FOR_P95, Latency, latency
from acmix_exp.yolo.model import ultralytics_gflops

STAGE_2 = ("attention", "convolution")
BATCHES = {1: FEWEST_FOR_P95, 32: FEWEST}  # each with its fewest passes


def complexity(model: nn.Module, imgsz: int = 640) -> tuple[dict[str, Any], tuple[Site, ...]]:
    """What does not depend on the machine, and our blocks by site.

    parameters, parameters_block; gflops and gflops_block at ``imgsz``, counted analytically; gflops_stage1 and
    gflops_stage2, of ACmix blocks, None without one; gflops_ultralytics: what ultralytics' own counter makes of the
    same network (None where it fails).
    """
    counted = count(model, imgsz)
    figures = {
        "parameters": counted.parameters,
        "parameters_block": sum(site.parameters for site in counted.sites),
        "gflops": counted.gflops,
        "gflops_block": counted.gflops_block,
        "gflops_stage1": counted.gflops_of("projection"),
        "gflops_stage2": counted.gflops_of(*STAGE_2),
        "gflops_ultralytics": ultralytics_gflops(model, imgsz),
    }
    return figures, counted.sites


def timings(model: nn.Module, imgsz: int, device: str | int) -> dict[str, float | None]:
    """Milliseconds of a fused forward at batch 1 and 32, see ``named``; None where 32 do not fit the memory."""
    figures: dict[str, float | None] = {}
    for batch, fewest in BATCHES.items():
        try:
            found: Latency | None = latency(model, imgsz, batch, device, fewest=fewest)
        except (MemoryError, RuntimeError) as error:
            if batch == 1:
                raise
            print(f"latency at batch {batch} was not measured: {str(error).splitlines()[0]}", flush=True)
            found = None
        figures |= named(batch, found)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return figures


def named(batch: int, found: Latency | None) -> dict[str, float | None]:
    """A latency under the names it has in files: the median ``latency_ms_b<batch>``, ``latency_ms_b<batch>_p95`` (None
    below 20 passes) and ``latency_passes_b<batch>``."""
    key = f"latency_ms_b{batch}"
    return {
        key: found and found.median,
        f"{key}_p95": found and found.p95,
        f"latency_passes_b{batch}": found and found.passes,
    }
