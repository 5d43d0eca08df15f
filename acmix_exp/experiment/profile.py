"""``task=profile``: what the networks of a plan cost, without training. The parent's side, free of torch."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import asdict
from typing import Any

from acmix_exp.data import resolve
from acmix_exp.experiment import device, process
from acmix_exp.experiment.output import console
from acmix_exp.experiment.plan import Cell, Plan
from acmix_exp.experiment.slots import gpu_slot
from acmix_exp.experiment.store import write_json
from acmix_exp.experiment.supervise import child_environment


def profile(plan: Plan) -> int:
    """Count and time every distinct network of the plan in one child process; its exit code.

    The figures go to ``runs/<name>/profile.json``, from where the summary takes its latencies: there the networks
    were timed side by side with nothing else of ours running.
    """
    config = plan.cells[0].config
    plan.folder.mkdir(parents=True, exist_ok=True)
    request = plan.folder / f".profile-{os.getpid()}.json"
    try:
        write_json(request, {"seconds": config.profile.seconds, "cells": _networks(plan)})
        with gpu_slot(device.gpus(config.hardware), 1) as gpu:
            command = [sys.executable, "-m", "acmix_exp.experiment.profile_child", str(request)]
            command += [str(plan.folder / "profile.json"), "cpu" if gpu is None else "cuda", str(os.getpid())]
            code = process.run(command, child_environment(plan.folder, config, gpu))
    finally:
        console(stderr=True).show_cursor()  # a child that was ended while it showed its progress left none
        request.unlink(missing_ok=True)
        shutil.rmtree(plan.folder / ".ultralytics", ignore_errors=True)
    if code < 0:
        print(f"acmix_exp: the profile was killed by {signal.Signals(-code).name}", file=sys.stderr)
    return int(code != 0)


def _networks(plan: Plan) -> list[dict[str, Any]]:
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
