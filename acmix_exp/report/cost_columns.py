"""What the runs of a row cost, and where their latency was measured."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from acmix_exp.experiment.store import read_json
from acmix_exp.report.records import Row

NETWORK = (
    "parameters",
    "gflops",
    "parameters_block",
    "gflops_block",
    "gflops_stage1",
    "gflops_stage2",
    "gflops_ultralytics",
)
TIMED = ("latency_ms_b1", "latency_ms_b1_p95", "latency_ms_b32", "latency_ms_b32_p95")


def profile_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows that ``task=profile`` left in an experiment's folder; none where it was not asked for."""
    rows = (read_json(folder / "profile.json") or {}).get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def cost_columns(row: Row, profiled: list[dict[str, Any]]) -> dict[str, Any]:
    """The network's figures, mean training seconds, highest memory (MB) and latencies (ms); None where unknown.

    Latencies are those of ``task=profile`` where it timed this very network at this image size, side by side with the
    other arms and nothing else running; else the mean over the runs, each timed at its end. ``latency_from``:
    profile, run, or shared where other runs were training meanwhile.
    """
    results = [run.result for _, run in sorted(row.runs.items()) if run.result]
    costs = [result["cost"] for result in results]

    def known(key: str) -> list[Any]:
        return [cost[key] for cost in costs if cost.get(key) is not None]

    columns = {key: next(iter(known(key)), None) for key in NETWORK}
    columns |= {key: mean(known(key)) if known(key) else None for key in (*TIMED, "train_seconds")}
    columns["peak_memory_mb"] = max(known("peak_memory_mb"), default=None)
    alone = all(cost.get("latency_alone", True) for cost in costs)
    columns["latency_from"] = ("run" if alone else "shared") if columns["latency_ms_b1"] is not None else None
    found = next((other for other in profiled if results and _same_network(row, columns, results[0], other)), None)
    if found:
        columns |= {key: found["cost"].get(key) for key in TIMED} | {"latency_from": "profile"}
    return columns


def _same_network(row: Row, columns: dict[str, Any], result: dict[str, Any], other: dict[str, Any]) -> bool:
    cost = other.get("cost") or {}
    return (
        other.get("arm") == row.arm
        and other.get("imgsz") == result.get("imgsz")
        and all((other.get("swept") or {}).get(key) == value for key, value in row.swept.items())
        and all(cost.get(key) == columns[key] for key in ("parameters", "gflops"))
    )
