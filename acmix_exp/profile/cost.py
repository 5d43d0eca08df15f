"""Costs of a network under the keys of result.json and profile.json."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from acmix_exp.config import MATCHED
from acmix_exp.nn.stand_in import Site
from acmix_exp.profile.count import count
from acmix_exp.profile.latency import FEWEST, FEWEST_FOR_P95, Latency, fused, latency
from acmix_exp.yolo.model import CONFIG_KEY, parts, ultralytics_gflops

STAGE_2 = ("attention", "convolution")
BATCHES = {1: FEWEST_FOR_P95, 32: FEWEST}  # batch size: smallest number of timed passes


def complexity(model: nn.Module, imgsz: int = 640) -> tuple[dict[str, Any], tuple[Site, ...]]:
    """Machine-independent costs by key, and our blocks by site.

    parameters and parameters_block: as trained; parameters_fused: in the form for inference. For one image of
    ``imgsz`` pixels in that form: gflops and gflops_block, as it runs; gflops_published, with the blocks in the form of
    their publication; gflops_stage1 and gflops_stage2 of ACmix blocks, None without one; gflops_ultralytics, by the
    counter of ultralytics, None if it fails. matched_parameters or matched_gflops, of the control that matches
    a block alone: those of that block; hidden_SITE: the control's channels between its convolutions.
    """
    counted = count(model, imgsz)
    costs: dict[str, Any] = {
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
    return {**costs, **_matched(model)}, counted.sites


def _matched(model: nn.Module) -> dict[str, float]:
    """Of the control that matches a block: what that block has, over all sites, and the control's width at each."""
    inserted = (getattr(model, "yaml", None) or {}).get(CONFIG_KEY) or {}
    blocks = [each.get("block") or {} for each in parts(inserted)]
    controls = [block for block in blocks if block.get("name") == MATCHED and "like" in block]
    if not controls:
        return {}
    size, match = sum(block["size"] for block in controls), controls[0]["match"]
    figure = {"matched_parameters": size} if match == "parameters" else {"matched_gflops": size / 1e9}
    widths = (item for block in controls for item in block["hidden"].items())
    return {**figure, **{f"hidden_{site}": hidden for site, hidden in widths}}


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
