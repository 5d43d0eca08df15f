"""Rows and tables of a report, without runs on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from acmix_exp.report.records import ArmRuns, Cost, Interval, Record, Result, Row, Spread, Table
from acmix_exp.report.statistics import Comparison, Verdict
from acmix_exp.run.directory import Run

NOTHING = Spread(None, None)
DELTA = {"n": 8, "mean": 0.01, "low": -0.002, "high": 0.022, "p": 0.125}
JOINT = {"simultaneous_low": -0.007, "simultaneous_high": 0.027}
COST = Cost(parameters=3_011_433, gflops=8.08)


def result(map50_95: float, per_class: Mapping[str, float] | None = None, **cost: Any) -> Result:
    return Result(map50_95, 0.5, None, None, dict(per_class or {}), "test", "best.pt", None, None, None, 320, cost)


def record(
    arm: str,
    seed: int,
    map50_95: float = 0.3,
    folder: Path = Path("nowhere"),
    per_class: Mapping[str, float] | None = None,
) -> Record:
    config = {"arm": {"insert": arm != "baseline"}}
    return Record(Run(folder), arm, seed, {}, config, {}, "done", None, result(map50_95, per_class), {})


def row(
    arm: str,
    mean: float | None,
    verdict: Verdict | None,
    *,
    maps: Sequence[float] | None = None,
    swept: Mapping[str, Any] | None = None,
    std: float | None = 0.0123,
    p_adjusted: float | None = 0.375,
    delta: Mapping[str, Any] = MappingProxyType(DELTA),
    in_family: bool | None = None,
    seeds_needed: int | None = 8,
    cost: Cost = COST,
) -> Row:
    """A row of eight seeds, or of one per value of ``maps``; compared unless the verdict is reference or None."""
    compared = verdict not in (Verdict.REFERENCE, None)
    values = maps if maps is not None else [(mean or 0) + seed / 100 for seed in range(8)]
    runs = {seed: record(arm, seed, value) for seed, value in enumerate(values)}
    comparison = Comparison(verdict=verdict, in_family=compared if in_family is None else in_family)
    if compared:
        found = {"deltas": dict.fromkeys(runs, 0.01), "p_adjusted": p_adjusted, "seeds_needed": seeds_needed}
        comparison = replace(comparison, **found, **delta, **JOINT)
    return Row(
        runs=ArmRuns(arm, dict(swept or {}), runs),
        reference=None,
        map50_95=Spread(mean, std),
        map50=Spread(0.5, None),
        precision=NOTHING,
        recall=NOTHING,
        val_last=NOTHING,
        val_best=NOTHING,
        comparison=comparison,
        images=Interval(),
        cost=cost,
    )


def table(rows: Sequence[Row], heading: str = "h", notes: Sequence[str] = ()) -> Table:
    swept = list(dict.fromkeys(key for row in rows for key in row.runs.swept))
    return Table(heading, {}, swept, "baseline", 0, list(rows), list(notes))
