"""Costs of a network under the keys of result.json and profile.json."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from acmix_exp.profile.count import Site, count
from acmix_exp.profile.latency import FEWEST, FEWEST_FOR_P95, Latency, fused, latency
from acmix_exp.yolo.model import ultralytics_gflops

STAGE_2 = ("attention", "convolution")
BATCHES = {1: FEWEST_FOR_P95, 32: FEWEST}  # batch size: smallest number of timed passes


def complexity(model: nn.Module, imgsz: int = 640) -> tuple[dict[str, Any], tuple[Site, ...]]:
    """Machine-independent costs by key, and our blocks by site.

    parameters and parameters_block: as trained; parameters_fused: in the form for inference. For one image of
    ``imgsz`` pixels in that form: gflops and gflops_block, as it runs; gflops_published, with the blocks in the form of
    their publication; gflops_stage1 and gflops_stage2 of ACmix blocks, None without one; gflops_ultralytics, by the
    counter of ultralytics, None if it fails.
    """
    counted = count(model, imgsz)
    costs = {
        "parameters": counted.parameters,
        "parameters_block": sum(site.parameters for site in counted.sites),
        "parameters_fused": counted.parameters_fused,
        "gflops": counted.gflops,
        "gflops_block": counted.gflops_block,
        "gflops_published": counted.gflops_published,
        "gflops_stage1": counted.gflops_of("projection"),
        "gflops_stage2": counted.gflops_of(*STAGE_2),
        "gflops_ultralytics": ultralytics_gflops(fused(model), imgsz),
    }
    return costs, counted.sites


def timings(model: nn.Module, imgsz: int, device: str | int) -> dict[str, float | None]:
    """Milliseconds of a fused forward pass at batch 1 and 32, see ``named``; None if 32 do not fit in memory."""
    costs: dict[str, float | None] = {}
    for batch, fewest in BATCHES.items():
        try:
            measured: Latency | None = latency(model, imgsz, batch, device, fewest=fewest)
        except (MemoryError, RuntimeError) as error:
            if batch == 1:
                raise
            print(f"latency at batch {batch} was not measured: {str(error).splitlines()[0]}", flush=True)
            measured = None
        costs |= named(batch, measured)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return costs


def named(batch: int, measured: Latency | None) -> dict[str, float | None]:
    """A latency under its keys in files.

    ``latency_ms_b<batch>`` (median), ``latency_ms_b<batch>_p95`` (None below 20 passes), ``latency_passes_b<batch>``.
    """
    key = f"latency_ms_b{batch}"
    return {
        key: measured and measured.median,
        f"{key}_p95": measured and measured.p95,
        f"latency_passes_b{batch}": measured and measured.passes,
    }
