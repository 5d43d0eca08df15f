"""``task=profile``: the costs of an experiment's networks before anything is trained, measured in a child process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from acmix_exp.child import Job, require, run_child
from acmix_exp.config import from_plain
from acmix_exp.console import console, showing_steps
from acmix_exp.data import resolve
from acmix_exp.files import write_json
from acmix_exp.run import devices, provenance
from acmix_exp.run.devices import gpu_slot
from acmix_exp.sweep.planning import Cell, Plan


def profile(plan: Plan) -> int:
    """Count and time every distinct network of the plan in one child process; the exit code.

    The figures go to ``runs/<name>/profile.json``, from where the summary takes its latencies: there the networks
    were timed side by side with no other run of ours. Raises ChildError if the child fails.
    """
    config = plan.cells[0].config
    request, threads = {"seconds": config.profile.seconds, "cells": _networks_of(plan)}, config.hardware.threads
    with gpu_slot(devices.gpus(config.hardware), 1) as gpu, showing_steps() as show:
        answer = run_child("profile", plan.folder, request, threads=threads, gpu=gpu, on_step=show)
    figures = require(answer, "the profile")
    plan.folder.mkdir(parents=True, exist_ok=True)
    path = plan.folder / "profile.json"
    write_json(path, figures)
    out = console()
    out.print(cost_tables(figures))
    out.print(f"written to {path}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _networks_of(plan: Plan) -> list[dict[str, Any]]:
    """One entry an arm and combination of swept values: seeds share their network's costs."""
    distinct: dict[tuple[str, str], Cell] = {}
    for cell in plan.cells:
        distinct.setdefault((cell.label, str(cell.swept)), cell)
    return [
        {
            "arm": cell.label,
            "swept": cell.swept,
            "classes": len(resolve(cell.config.dataset).names),
            "config": asdict(cell.config),
        }
        for cell in distinct.values()
    ]


UNFUSED = " unfused"


def work(job: Job) -> dict[str, Any]:
    """The child's side: the content of profile.json for the networks of ``cells``."""
    began = time.monotonic()
    figures = measured(job.request["cells"], job.request["seconds"], job.device, job.step)
    figures |= {"versions": provenance.versions(), "hardware": provenance.hardware(job.device)}
    return {**figures, "git": provenance.commit(), "seconds": round(time.monotonic() - began, 1)}


def measured(
    cells: Sequence[dict[str, Any]], seconds: float, device: int | str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Rows of costs, one a network, built from scratch: counted at 640 px, timed at the run's own image size.

    ``seconds`` is what the timing may take over all networks, as fused networks at batch 1, as built at batch 1, and
    fused at batch 32; batch 32 is left out (None) where it would not fit.
    """
    from acmix_exp.profile import complexity, fused
    from acmix_exp.yolo.model import build_model

    rows, networks, sizes = [], {}, []
    for number, cell in enumerate(cells):
        config = from_plain(cell["config"])
        say(f"counting {cell['arm']} ({number + 1} of {len(cells)})")
        model = build_model(config, cell["classes"]).eval()
        figures, sites = complexity(model)
        names = {id(block): site for site, block in getattr(model, "blocks", dict)().items()}
        places = {name: names.get(id(module), name) for name, module in model.named_modules()}
        described = [_described(site, places[site.name]) for site in sites]
        rows.append({"arm": cell["arm"], "swept": cell["swept"], "cost": figures, "sites": described})
        networks[number] = (fused(model), model)
        sizes.append(config.train.imgsz)
    threads = config.hardware.threads
    untimed: list[str] = []
    for imgsz in sorted(set(sizes)):
        chosen = {number: networks[number] for number, size in enumerate(sizes) if size == imgsz}
        share = seconds * len(chosen) / len(cells)
        for number, figures in _timed(chosen, imgsz, share, device, threads, say, untimed).items():
            rows[number]["cost"] |= figures
            rows[number]["imgsz"] = imgsz
    return {"rows": rows, "device": "cuda" if device != "cpu" else "cpu", "threads": threads, "untimed": untimed}


def _described(site: Any, name: str) -> dict[str, Any]:
    stages = {stage: figures._asdict() for stage, figures in site.stages.items()}
    return {**site._asdict(), "name": name, "stages": stages}


def _timed(
    networks: dict[int, tuple[Any, Any]],
    imgsz: int,
    seconds: float,
    device: int | str,
    threads: int,
    say: Callable[[str], None],
    untimed: list[str],
) -> dict[int, dict[str, Any]]:
    """Figures by network; why batch 32 was not timed is added to ``untimed``."""
    import torch

    from acmix_exp.profile import BATCHES, latencies, named

    torch.set_num_threads(threads)
    each = seconds / len(networks)
    say(f"timing {len(networks)} networks at {imgsz} px, batch 1")
    quick = {str(number): pair[0] for number, pair in networks.items()}
    single = latencies(quick, imgsz, 1, device, seconds=each / 4, fewest=BATCHES[1])
    say(f"timing {len(networks)} networks at {imgsz} px, batch 1, not fused")
    plain = latencies({str(number): pair[1] for number, pair in networks.items()}, imgsz, 1, device, seconds=each / 8)
    figures: dict[int, dict[str, Any]] = {
        number: {**named(1, single[str(number)]), "latency_ms_b1_unfused": plain[str(number)].median}
        for number in networks
    }
    # a warm-up pass and those that count
    expected = sum((1 + BATCHES[32]) * 32 * found.median for found in single.values()) / 1e3
    many = {}
    if expected <= seconds or device != "cpu":
        say(f"timing {len(networks)} networks at {imgsz} px, batch 32, about {expected:.0f} s")
        try:
            many = latencies(quick, imgsz, 32, device, seconds=each / 4, fewest=BATCHES[32])
        except (MemoryError, RuntimeError) as error:
            untimed.append(str(error).splitlines()[0])
    else:
        untimed.append(f"it takes about {expected:.0f} s at {imgsz} px, for which profile.seconds leaves {seconds:.0f}")
    for number in networks:
        figures[number] |= named(32, many.get(str(number)))
    return figures


MISSING = "–"
NETWORK = (
    ("parameters", "parameters", "{:,.0f}"),
    ("of blocks", "parameters_block", "{:,.0f}"),
    ("GFLOPs", "gflops", "{:.3f}"),
    ("of blocks", "gflops_block", "{:.3f}"),
    ("ultralytics\nsays", "gflops_ultralytics", "{:.3f}"),
    ("ms\nbatch 1", "latency_ms_b1", "{:.1f}"),
    ("p95", "latency_ms_b1_p95", "{:.1f}"),
    ("not\nfused", "latency_ms_b1_unfused", "{:.1f}"),
    ("ms\nbatch 32", "latency_ms_b32", "{:.0f}"),
)


def cost_tables(profile: dict[str, Any]) -> RenderableType:
    """One row a network, then Stage I and II of every site where blocks tell them (ACmix)."""
    rows = profile["rows"]
    staged = [row for row in rows if any(site["stages"] for site in row["sites"])]
    parts: list[RenderableType] = [_networks(profile), Text()]
    if staged:
        parts += [_stages(staged), Text()]
    return Group(*parts, *map(Text, notes(profile)))


def notes(profile: dict[str, Any]) -> list[str]:
    """What the figures rest on, in sentences."""
    sizes = sorted({row["imgsz"] for row in profile["rows"]})
    threads = "" if profile["device"] == "cuda" else f", {profile['threads']} thread" + "s" * (profile["threads"] > 1)
    found = [
        "GFLOPs (2 x multiply-adds) at 640 px, our blocks counted analytically; "
        "ultralytics' counter goes by layers, on a small image scaled up: it misses or misjudges what blocks compute.",
        f"Milliseconds at {', '.join(map(str, sizes))} px on {profile['device']}{threads}, float32, fused: median of "
        "passes in which the networks take turns, p95 from 20 passes on.",
    ]
    if any(row["cost"].get("latency_ms_b32") is None for row in profile["rows"]):
        reasons = "; ".join(profile.get("untimed") or ["it would not fit the time (profile.seconds) or the memory"])
        found.append(f"Batch 32 was not timed: {reasons}.")
    return found


def _networks(profile: dict[str, Any]) -> Table:
    rows = profile["rows"]
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    table = Table(title="networks", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("arm", *map(escape, swept)):
        table.add_column(name)
    for name, _, _ in NETWORK:
        table.add_column(name, justify="right")
    for row in rows:
        values = [MISSING if row["swept"].get(key) is None else str(row["swept"][key]) for key in swept]
        table.add_row(
            *map(escape, (row["arm"], *values)), *(_shown(row["cost"], key, form) for _, key, form in NETWORK)
        )
    return table


def _stages(rows: list[dict[str, Any]]) -> Table:
    """FLOPs by stage. The publication's claim is that Stage I, the projections, is nearly all of it."""
    table = Table(
        title="ACmix by stage, one image of 640 px", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False
    )
    for name in ("arm", "site", "map"):
        table.add_column(name)
    for name in (
        "parameters",
        "GFLOPs",
        "Stage I\nprojections",
        "Stage II\nattention",
        "Stage II\nconvolution",
        "MB\nmoved",
    ):
        table.add_column(name, justify="right")
    for row in rows:
        for site in row["sites"]:
            if site["stages"]:
                table.add_row(*map(escape, _stage_cells(row, site)))
    return table


def _stage_cells(row: dict[str, Any], site: dict[str, Any]) -> list[str]:
    stages, total = site["stages"], site["flops"]
    shares = [
        f"{stages[name]['flops'] / total:.1%}" if name in stages else MISSING
        for name in ("projection", "attention", "convolution")
    ]
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


def _shown(cost: dict[str, Any], key: str, form: str) -> str:
    value = cost.get(key)
    return MISSING if value is None else form.format(value)
