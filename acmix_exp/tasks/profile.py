"""``task=profile``: parameters, FLOPs and latency of an experiment's networks, measured in a child process."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from acmix_exp.child import Job, require, run_child
from acmix_exp.config import from_plain
from acmix_exp.console import console, print_line, showing_steps, text_table
from acmix_exp.data import resolve
from acmix_exp.files import write_json
from acmix_exp.report.columns import Column, columns
from acmix_exp.report.sentences import DASH, format_number
from acmix_exp.run import devices, provenance
from acmix_exp.sweep.planning import Cell, Plan


def profile(plan: Plan) -> int:
    """Count and time every distinct network of the plan in one child process; returns the exit code.

    The results are written to ``runs/<name>/profile.json``. The summary takes its latencies from there, because these
    were timed in alternation on an otherwise idle machine. Raises ChildError if the child fails.
    """
    config = plan.cells[0].config
    request, threads = {"seconds": config.profile.seconds, "cells": _networks_of(plan)}, config.hardware.threads
    with devices.gpu_slot(devices.gpus(config.hardware), 1) as gpu, showing_steps() as show:
        answer = run_child("profile", plan.folder, request, threads=threads, gpu=gpu, on_step=show)
    figures = require(answer, "the profile")
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / "profile.json"
    write_json(path, figures)
    console().print(cost_tables(figures))
    print_line(f"written to {path}")
    return 0


def _networks_of(plan: Plan) -> list[dict[str, Any]]:
    """One entry per arm and combination of swept values: the networks of all seeds have the same costs."""
    distinct: dict[tuple[str, str], Cell] = {}
    for cell in plan.cells:
        distinct.setdefault((cell.label, str(cell.swept)), cell)
    return [
        {
            "arm": cell.label,
            "swept": cell.swept,
            "classes": len(dataset.names),
            "keypoints": dataset.keypoints and [dataset.keypoints.count, dataset.keypoints.values],
            "config": asdict(cell.config),
        }
        for cell in distinct.values()
        for dataset in (resolve(cell.config.dataset, cell.config.model.task),)
    ]


def work(job: Job) -> dict[str, Any]:
    """Measure the networks of ``cells`` in the child process; returns the content of profile.json.

    Each is built from scratch, counted at 640 px and timed at the image size of the run. ``seconds``: total time for
    timing over all networks: fused at batch 1, unfused at batch 1, fused at batch 32, which is left out (None) if it
    takes too long or does not fit in memory.
    """
    import torch

    from acmix_exp.profile import complexity
    from acmix_exp.yolo.heads import predicts_by_headline
    from acmix_exp.yolo.model import build_model

    start = time.monotonic()
    cells = job.request["cells"]
    rows: list[dict[str, Any]] = []
    models = []
    for number, cell in enumerate(cells):
        config = from_plain(cell["config"])
        job.step(f"counting {cell['arm']} ({number + 1} of {len(cells)})")
        model = build_model(config, cell["classes"], cell["keypoints"]).eval()
        predicts_by_headline(model, config)
        cost, sites = complexity(model)
        site_names = {id(block): site for site, block in getattr(model, "blocks", dict)().items()}
        names = {name: site_names.get(id(module), name) for name, module in model.named_modules()}
        described = [
            {**site._asdict(), "name": names[site.name], "stages": {k: v._asdict() for k, v in site.stages.items()}}
            for site in sites
        ]
        about = {"arm": cell["arm"], "swept": cell["swept"]}
        rows.append({**about, "cost": cost, "sites": described, "imgsz": config.train.imgsz})
        models.append(model)
    threads = config.hardware.threads
    torch.set_num_threads(threads)
    untimed: list[str] = []
    for imgsz in sorted({row["imgsz"] for row in rows}):
        same_size = {str(number): models[number] for number, row in enumerate(rows) if row["imgsz"] == imgsz}
        seconds = job.request["seconds"] * len(same_size) / len(cells)
        for index, latencies in _timed(job, same_size, imgsz, seconds, untimed).items():
            rows[int(index)]["cost"] |= latencies
    conditions = {"device": "cpu" if job.device == "cpu" else "cuda", "threads": threads, "untimed": untimed}
    machine = {
        "versions": provenance.versions(),
        "imported": provenance.imported(),
        "hardware": provenance.hardware(job.device),
    }
    taken = round(time.monotonic() - start, 1)
    return {"rows": rows, **conditions, **machine, "git": provenance.commit(), "seconds": taken}


def _timed(
    job: Job, models: dict[str, Any], imgsz: int, seconds: float, untimed: list[str]
) -> dict[str, dict[str, Any]]:
    """Latencies by network; the reason is appended to ``untimed`` if batch 32 was not timed."""
    from acmix_exp.profile import BATCHES, fused, latencies, named

    device, step, each = job.device, job.step, seconds / len(models)
    timing = f"timing {len(models)} networks at {imgsz} px"
    fused_models = {number: fused(model) for number, model in models.items()}
    step(f"{timing}, batch 1")
    batch_1 = latencies(fused_models, imgsz, 1, device, seconds=each / 4, fewest=BATCHES[1])
    step(f"{timing}, batch 1, not fused")
    unfused = latencies(models, imgsz, 1, device, seconds=each / 8)
    # One warm-up pass and the timed ones.
    expected = sum((1 + BATCHES[32]) * 32 * latency.median for latency in batch_1.values()) / 1e3
    batch_32 = {}
    if expected <= seconds or device != "cpu":
        step(f"{timing}, batch 32, about {expected:.0f} s")
        try:
            batch_32 = latencies(fused_models, imgsz, 32, device, seconds=each / 4, fewest=BATCHES[32])
        except (MemoryError, RuntimeError) as error:
            untimed.append(str(error).splitlines()[0])
    else:
        untimed.append(f"it takes about {expected:.0f} s at {imgsz} px, and profile.seconds leaves {seconds:.0f} s")
    return {
        number: {
            **named(1, batch_1[number]),
            "latency_ms_b1_unfused": unfused[number].median,
            **named(32, batch_32.get(number)),
        }
        for number in models
    }


NOT_FUSED = Column("latency, not fused", ".2f", {"latency_ms_b1_unfused": ""}, unit="ms")
STAGES = {
    "projection": "Stage I\nprojections",
    "attention": "Stage II\nattention",
    "convolution": "Stage II\nconvolution",
}
STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "show_edge": False}


def cost_tables(profile: dict[str, Any]) -> RenderableType:
    """One row per network, then Stage I and II of every ACmix site."""
    rows = profile["rows"]
    staged = [row for row in rows if any(site["stages"] for site in row["sites"])]
    parts: list[RenderableType] = [_networks(profile), Text()]
    if staged:
        parts += [_stages(staged), Text()]
    return Group(*parts, *map(Text, notes(profile)))


def notes(profile: dict[str, Any]) -> list[str]:
    """The conditions of the measurement, in sentences."""
    sizes = sorted({row["imgsz"] for row in profile["rows"]})
    threads = "" if profile["device"] == "cuda" else f", {profile['threads']} thread" + "s" * (profile["threads"] > 1)
    sentences = [
        "GFLOPs (2 x multiply-adds) at 640 px, of what runs in the fused network; ultralytics: by its own counter on "
        "the same network and image, which misses functions.",
        f"Milliseconds at {', '.join(map(str, sizes))} px on {profile['device']}{threads}, float32, fused: median of "
        "passes of all networks in alternation, p95 with 20 passes or more.",
    ]
    if any(row["cost"].get("latency_ms_b32") is None for row in profile["rows"]):
        reasons = "; ".join(profile.get("untimed") or ["not enough time (profile.seconds) or memory"])
        sentences.append(f"Batch 32 was not timed: {reasons}.")
    return sentences


def _networks(profile: dict[str, Any]) -> Table:
    rows = profile["rows"]
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    visible = [*columns("profile"), NOT_FUSED]
    lines = [
        (
            row["arm"],
            *(format_number(row["swept"].get(key), "") for key in swept),
            *(column.text_of(row["cost"]) for column in visible),
        )
        for row in rows
    ]
    return text_table("networks", ["arm", *swept], [column.title for column in visible], lines, **STYLE)


def _stages(rows: list[dict[str, Any]]) -> Table:
    """FLOPs by stage. The publication claims that Stage I, the projections, is nearly all of the cost."""
    lines = [_stage_cells(row, site) for row in rows for site in row["sites"] if site["stages"]]
    figures = ("parameters", "GFLOPs", *STAGES.values(), "MB\nmoved")
    return text_table("ACmix by stage, one image of 640 px", ("arm", "site", "map"), figures, lines, **STYLE)


def _stage_cells(row: dict[str, Any], site: dict[str, Any]) -> list[str]:
    stages, total = site["stages"], site["flops"]
    shares = [f"{stages[name]['flops'] / total:.1%}" if name in stages else DASH for name in STAGES]
    moved = sum(stage["bytes"] for stage in stages.values()) / 1e6
    return [
        " ".join([row["arm"], *(f"{key}={value}" for key, value in row["swept"].items() if value is not None)]),
        site["name"],
        f"{site['height']}x{site['width']}",
        f"{site['parameters']:,}",
        f"{total / 1e9:.3f}",
        *shares,
        f"{moved:.1f}",
    ]
