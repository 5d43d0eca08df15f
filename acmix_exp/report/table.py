"""The table: one row an arm and swept value, with means, paired deltas and costs."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from acmix_exp.config import IDENTITY
from acmix_exp.report import statistics
from acmix_exp.report.image_intervals import image_intervals
from acmix_exp.report.notes import notes
from acmix_exp.report.read_runs import Group, Record, Row, collect
from acmix_exp.report.row_costs import cost_columns, read_profile

REFERENCE = "baseline"
COLUMNS = (
    "n",
    "map50_95_mean",
    "map50_95_std",
    "map50_mean",
    "delta_mean",
    "delta_low",
    "delta_high",
    "p",
    "p_adjusted",
    "p_floor",
    "verdict",
    "parameters",
    "gflops",
    "latency_ms_b1",
)


def summarise(folder: Path, reference: str = REFERENCE) -> list[dict[str, Any]]:
    """Every table of a folder: ``settings``, ``swept_keys``, ``reference``, ``family``, ``rows`` and ``notes``.

    A row has COLUMNS, and beside them: ``values`` and ``deltas`` by seed, ``n_paired``, ``in_family``,
    ``image_low`` and ``image_high`` (test-set noise of the mean delta), and ``val_last_mean``, ``val_last_std``,
    ``val_best_mean``, ``val_best_std`` (mAP50-95 on val of the last epoch and of the best, which is biased upward),
    and the rest of ``cost_columns``.
    """
    groups, left_out = collect(folder)
    profile = read_profile(folder)
    tables = [_table(group, reference, profile) for group in groups]
    for table in tables[:1]:
        table["notes"] += left_out
    return tables


def _table(group: Group, reference: str, profile: dict[str, Any]) -> dict[str, Any]:
    """A harness control is compared as a family of its own: a fault it shows is no finding about a block."""
    pairs = [(row, reference_row(group, row, reference)) for row in group.rows]
    deltas = [_delta(row, other) for row, other in pairs]
    members = [other is not None and not _tests_harness(row, other) for row, other in pairs]
    family = sum(members)
    adjusted = statistics.holm(
        [_p(delta) if delta and member else None for delta, member in zip(deltas, members, strict=True)]
    )
    costs, cost_notes = cost_columns(group.rows, reference, profile)
    images, image_notes = image_intervals(pairs)
    rows = []
    columns = zip(pairs, deltas, members, adjusted, images, costs, strict=True)
    for (row, other), delta, member, p_adjusted, image, cost in columns:
        words = {
            **_delta_columns(delta, p_adjusted if member else _own_p(delta), family if member else 1),
            **({"verdict": "reference"} if row.arm == reference else {}),
            "n_paired": delta.n if delta else 0,
            "in_family": member,
            "deltas": _deltas(row, other),
        }
        row_columns = {**_means(row), **words, **image, **cost}
        rows.append({"arm": row.arm, **row.swept, **{key: row_columns.pop(key) for key in COLUMNS}, **row_columns})
    return {
        "settings": group.settings,
        "swept_keys": group.swept_keys,
        "reference": reference,
        "family": family,
        "rows": rows,
        "notes": [*notes(group, rows, reference, family), *image_notes, *cost_notes],
    }


def reference_row(group: Group, row: Row, reference: str = REFERENCE) -> Row | None:
    """The row of the reference arm with the same value on every axis that both depend on; None for that arm itself,
    and where several would fit."""
    if row.arm == reference:
        return None
    fitting = [
        other
        for other in group.rows
        if other.arm == reference
        and all(None in (value, row.swept[key]) or value == row.swept[key] for key, value in other.swept.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _tests_harness(row: Row, other: Row) -> bool:
    """Whether the arm identity is compared, or the stock network with it as the reference."""
    return row.block == IDENTITY or (other.block == IDENTITY and row.block is None)


def _common(row: Row, other: Row | None) -> list[int]:
    return sorted(row.runs.keys() & other.runs.keys()) if other else []


def _delta(row: Row, other: Row | None) -> statistics.Delta | None:
    if other is None:
        return None
    seeds = _common(row, other)
    return statistics.paired([_map(row.runs[seed]) for seed in seeds], [_map(other.runs[seed]) for seed in seeds])


def _deltas(row: Row, other: Row | None) -> list[dict[str, Any]]:
    if other is None:
        return []
    return [{"seed": seed, "delta": _map(row.runs[seed]) - _map(other.runs[seed])} for seed in _common(row, other)]


def _own_p(delta: statistics.Delta | None) -> float | None:
    return delta.p if delta else None


def _p(delta: statistics.Delta) -> float:
    """A comparison with too few seeds for a p yet is a member of the family all the same."""
    return 1.0 if delta.p is None else delta.p


def _delta_columns(delta: statistics.Delta | None, p_adjusted: float | None, family: int) -> dict[str, Any]:
    if delta is None:
        names = ("delta_mean", "delta_low", "delta_high", "p", "p_adjusted", "p_floor", "verdict")
        return dict.fromkeys(names)
    return {
        "delta_mean": delta.mean,
        "delta_low": delta.low,
        "delta_high": delta.high,
        "p": delta.p,
        "p_adjusted": None if delta.p is None else p_adjusted,
        "p_floor": statistics.floor(delta.n, family) if delta.n else None,
        "verdict": statistics.verdict(delta, p_adjusted, family),
    }


def _map(record: Record, key: str = "map50_95") -> float:
    assert record.result is not None
    return float(record.result["metrics"][key])


def _means(row: Row) -> dict[str, Any]:
    runs = [row.runs[seed] for seed in sorted(row.runs)]
    values = [_values(run) for run in runs]
    columns: dict[str, Any] = {"n": len(runs), "values": values}
    for key in ("map50_95", "map50", "val_last", "val_best"):
        numbers = [value[key] for value in values if value[key] is not None]
        columns[f"{key}_mean"] = mean(numbers) if numbers else None
        columns[f"{key}_std"] = stdev(numbers) if len(numbers) > 1 else None
    return columns


def _values(record: Record) -> dict[str, Any]:
    """A run's headline, and its mAP50-95 on val after the last epoch and after the best."""
    result = record.result or {}
    last, best = result.get("val_last") or {}, result.get("val_best") or {}
    return {
        "seed": record.seed,
        "run": record.run.name,
        "map50_95": _map(record),
        "map50": _map(record, "map50"),
        "val_last": last.get("map50_95"),
        "val_best": best.get("map50_95"),
        "best_epoch": best.get("epoch"),
    }
