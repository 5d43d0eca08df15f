"""What figures and page are made of, as plain data: so that a process that draws reads one file and no run's YAML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy import stats

from acmix_exp.files import read_json
from acmix_exp.report.read_runs import Group, Record, Row
from acmix_exp.report.row_costs import machine
from acmix_exp.report.statistics import LEVEL
from acmix_exp.report.table import reference_row
from acmix_exp.report.write import heading


def view(folder: Path, tables: Sequence[dict[str, Any]], groups: Sequence[Group]) -> dict[str, Any]:
    """``tables`` of summary.json, their rows with ``label``, ``deltas`` by seed, ``class_deltas`` and ``runs``."""
    return {
        "name": folder.name,
        "folder": str(folder.resolve()),
        "tables": [_table(*pair) for pair in zip(tables, groups, strict=True)],
    }


def _table(table: dict[str, Any], group: Group) -> dict[str, Any]:
    rows = []
    for summary, row in zip(table["rows"], group.rows, strict=True):
        reference = reference_row(group, row, table["reference"])
        rows.append(
            {
                "label": " ".join(filter(None, (row.arm, variant(row)))),
                "arm": row.arm,
                "variant": variant(row),
                "summary": summary,
                "deltas": {str(entry["seed"]): entry["delta"] for entry in summary["deltas"]},
                "class_deltas": _class_deltas(row, reference),
                "runs": [_run(row.runs[seed]) for seed in sorted(row.runs)],
            }
        )
    shared = {key: table[key] for key in ("notes", "swept_keys", "reference")}
    return {"heading": heading(table), **shared, "rows": rows}


def variant(row: Row) -> str:
    """The row's swept values, in words."""
    return " ".join(f"{key.split('.')[-1]}={value}" for key, value in row.swept.items() if value is not None)


def _run(record: Record) -> dict[str, Any]:
    result = record.result or {}
    history = record.run.history()
    names = [key for key in dict.fromkeys(key for row in history for key in row) if _curve(key)]
    images = record.run.path / "images"
    return {
        "name": record.run.name,
        "seed": record.seed,
        "metrics": {key: value for key, value in result["metrics"].items() if key != "per_class"},
        "cost": result["cost"],
        "machine": machine(record),
        "history": {name: [_number(row.get(name)) for row in history] for name in names},
        "images": str(images) if read_json(images / "images.json") else None,
        "windows": (images / "windows.json").is_file(),
    }


def _curve(key: str) -> bool:
    return key in ("epoch", "map50_95") or key.startswith("rates/")


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _class_deltas(row: Row, reference: Row | None) -> dict[str, dict[str, Any]]:
    """By class: mean paired difference and its 95 % t interval, not adjusted for the number of classes."""
    if reference is None:
        return {}
    found: dict[str, list[float]] = {}
    for seed in sorted(row.runs.keys() & reference.runs.keys()):
        mine, theirs = (_per_class(records.runs[seed]) for records in (row, reference))
        for name in theirs:
            if name in mine:
                found.setdefault(name, []).append(mine[name] - theirs[name])
    return {name: {"values": values, **_interval(values)} for name, values in found.items()}


def _per_class(record: Record) -> dict[str, float]:
    """mAP50-95 of the classes that have one."""
    classes = ((record.result or {}).get("metrics") or {}).get("per_class") or {}
    return {name: entry["map50_95"] for name, entry in classes.items() if entry.get("map50_95") is not None}


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    centre, n = fmean(values), len(values)
    if n < 2:
        return {"mean": centre, "low": None, "high": None}
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return {"mean": centre, "low": centre - half, "high": centre + half}
