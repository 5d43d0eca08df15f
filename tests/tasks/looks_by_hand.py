"""Commands with seeds=auto whose runs are not trained: an executor writes the results that a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from acmix_exp.config import HardwareConfig
from acmix_exp.run.directory import Run
from acmix_exp.sweep import planning
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import Plan

COMMON = ("dataset=yolo", "hardware=cpu", "logger=disabled", "report.auto=false", "runs_dir=runs", "name=auto")
SMALL = ("seeds=auto", "seeds_plan.looks=[6,8,10]", "seeds_plan.shares=[0,0.02,0.03]")


def plan_of(data: Path, *arguments: str) -> Plan:
    return planning.build(compose_cells(["-m", f"dataset.path={data}", *COMMON, *arguments]))


def finish(run: Run, value: float) -> None:
    """Leave a run as a finished training does."""
    status = run.status() or {}
    metrics = {"map50": 0.5, "map50_95": value, "split": "val", "checkpoint": "last.pt"}
    facts = {"arm": status["arm"], "seed": status["seed"], "swept": status["swept"]}
    content = {**facts, "metrics": metrics, "cost": {}, "epochs": 0, "imgsz": 64, "batch": 4}
    (run.path / "result.json").write_text(json.dumps(content))
    run.set_status(status="done", attempt=1, started=float(status["seed"]))


class ByHand:
    """An executor whose runs end at once, with the mAP of ``values`` by arm and seed; an error text in its place fails
    the run. ``stop_at`` so many seeds it is interrupted before any run ends."""

    def __init__(self, values: Callable[[str, int], float | str], stop_at: int | None = None) -> None:
        self.values, self.stop_at = values, stop_at
        self.trained: list[list[str]] = []  # by call of create: ARM-sSEED of the runs that were not done
        self.open: list[Run] = []

    def create(self, runs: Sequence[Run], hardware: HardwareConfig) -> ByHand:
        self.open = [run for run in runs if not run.is_final()]
        return self

    def start(self) -> None:
        self.trained.append([run.name.rpartition("-")[0] for run in self.open])

    def wait(self, seconds: float) -> bool:
        for run in self.open:
            status: dict[str, Any] = run.status() or {}
            if self.stop_at is not None and status["seed"] >= self.stop_at:
                raise KeyboardInterrupt
            value = self.values(status["arm"], status["seed"])
            if isinstance(value, str):
                run.set_status(status="failed", attempt=1, error=value)
            else:
                finish(run, value)
        return True

    def interrupt(self) -> str | None:
        return None

    def at_once(self) -> int:
        return 1

    def notes(self) -> Mapping[str, str]:
        return {}


def effects(**by_arm: float) -> Callable[[str, int], float]:
    """mAP of an arm and seed: 0.5, and for all but the baseline the arm's effect and 0.01 of either sign in turn."""

    def value(arm: str, seed: int) -> float:
        return 0.5 if arm == "baseline" else 0.5 + by_arm.get(arm, 0.0) + 0.01 * (-1) ** seed

    return value
