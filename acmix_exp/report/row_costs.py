"""What the runs of a row cost, with times of one kind of machine, and where the latencies were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from acmix_exp.files import read_json
from acmix_exp.report.records import Record, Row


def kind(hardware: Any) -> str:
    """The hardware of a provenance.json or profile.json in words: the GPU that was used, else the CPU with its cores.

    Empty where it was not recorded.
    """
    if not isinstance(hardware, dict):
        return ""
    if hardware.get("gpu"):
        return str(hardware["gpu"])
    cores = f" ({hardware['cores']} cores)" if hardware.get("cores") else ""
    return f"{hardware['cpu']}{cores}" if hardware.get("cpu") else ""


def machine(record: Record) -> str:
    """The kind of machine that a run was trained and timed on."""
    return kind(record.provenance.get("hardware"))


def machines(row: Row) -> Counter[str]:
    """How many finished runs a row has on each kind of machine."""
    return Counter(machine(run) for run in row.runs.values())


def timed_on(rows: Sequence[Row], reference: str, preferred: str | None = None) -> str | None:
    """The kind of machine whose times stand in a table: one that every row with a finished run has runs on, the
    ``preferred`` one first; where there is none, one of the reference's. None without finished runs.

    Of several the one with the most rows, then runs.
    """
    counts = [(row.arm == reference, machines(row)) for row in rows if row.runs]
    found = dict.fromkeys(name for _, counted in counts for name in counted)

    def rank(name: str) -> tuple[bool, bool, bool, int, int]:
        having = [is_reference for is_reference, counted in counts if name in counted]
        everywhere = len(having) == len(counts)
        runs = sum(counted[name] for _, counted in counts)
        return everywhere, everywhere and name == preferred, any(having), len(having), runs

    return max(found, key=rank, default=None)


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


def read_profile(folder: Path) -> dict[str, Any]:
    """What ``task=profile`` left in an experiment's folder, its ``rows`` checked; empty where it was not asked for."""
    found = read_json(folder / "profile.json") or {}
    rows = found.get("rows")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {**found, "rows": rows} if rows else {}


def cost_columns(
    rows: Sequence[Row], reference: str, profile: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """By row: the network's figures, mean training seconds, highest memory (MB) and latencies (ms), None where
    unknown; and what the reader must know about them.

    Times and memory are those of one kind of machine (``timed_on``). Latencies are those of ``task=profile`` where
    it timed, on that machine, every network of the table at its image size; else means over the runs, each timed at
    its end. ``latency_from``: profile, run, or shared where other runs were training meanwhile.
    """
    where = timed_on(rows, reference, kind(profile.get("hardware")) if profile else None)
    columns = [_columns(row, where) for row in rows]
    notes = _other_machines(rows, where)
    if profile:
        notes.append(_take_latencies(rows, columns, profile, where))
    if any(own["latency_from"] == "shared" for own in columns):
        notes.append("Latencies were measured while other runs were training; task=profile measures them alone.")
    return columns, notes


def _take_latencies(
    rows: Sequence[Row], columns: list[dict[str, Any]], profile: dict[str, Any], where: str | None
) -> str:
    """Put the latencies of ``task=profile`` into all ``columns`` or, where they are not of this table's networks and
    machine, into none; which of it, in a sentence."""
    measured = kind(profile.get("hardware"))
    if measured != where:
        return f"Latencies of task=profile are left out: it ran on {_name(measured)}, not on {_name(where)}."
    found = [
        next((other["cost"] for other in profile["rows"] if _same_network(row, own, other)), None)
        for row, own in zip(rows, columns, strict=True)
    ]
    lacking = [row.arm for row, cost in zip(rows, found, strict=True) if row.runs and cost is None]
    if lacking:
        return (
            f"Latencies of task=profile are left out: it did not time {', '.join(dict.fromkeys(lacking))} as trained "
            "here, and one column is measured in one way."
        )
    for own, cost in zip(columns, found, strict=True):
        if cost:
            own |= {key: cost.get(key) for key in TIMED} | {"latency_from": "profile"}
    threads = f", threads: {profile['threads']}" if profile.get("device") == "cpu" and profile.get("threads") else ""
    return f"Latencies are those of task=profile: the networks in turn, on {_name(measured)}{threads}."


def _columns(row: Row, where: str | None) -> dict[str, Any]:
    runs = [run for _, run in sorted(row.runs.items()) if run.result]
    costs = [run.result["cost"] for run in runs if run.result]
    there = [run.result["cost"] for run in runs if run.result and machine(run) == where]

    def known(key: str, among: list[dict[str, Any]]) -> list[Any]:
        return [cost[key] for cost in among if cost.get(key) is not None]

    columns = {key: next(iter(known(key, costs)), None) for key in NETWORK}
    columns |= {key: mean(known(key, there)) if known(key, there) else None for key in (*TIMED, "train_seconds")}
    columns["peak_memory_mb"] = max(known("peak_memory_mb", there), default=None)
    alone = all(cost.get("latency_alone", True) for cost in there)
    columns["latency_from"] = ("run" if alone else "shared") if columns["latency_ms_b1"] is not None else None
    return columns


def _same_network(row: Row, columns: dict[str, Any], other: dict[str, Any]) -> bool:
    result = next((run.result for _, run in sorted(row.runs.items()) if run.result), None)
    cost = other.get("cost")
    return (
        result is not None
        and isinstance(cost, dict)
        and isinstance(cost.get("latency_ms_b1"), (int, float))
        and other.get("arm") == row.arm
        and other.get("imgsz") == result.get("imgsz")
        and all((other.get("swept") or {}).get(key) == value for key, value in row.swept.items())
        and all(cost.get(key) == columns[key] for key in ("parameters", "gflops"))
    )


def _other_machines(rows: Sequence[Row], where: str | None) -> list[str]:
    """Which runs count for accuracy alone, as they were timed on another kind of machine."""
    others = list(dict.fromkeys(name for row in rows for name in machines(row) if name != where))
    if not others:
        return []
    without = list(dict.fromkeys(row.arm for row in rows if row.runs and where not in machines(row)))
    found = [
        f"Times and memory are those of the runs on {_name(where)}; the runs on {', '.join(map(_name, others))} count "
        "for accuracy alone."
    ]
    return found + ([f"{', '.join(without)}: no run on {_name(where)}, so no times of its own."] if without else [])


def _name(machine: str | None) -> str:
    return machine or "a machine that was not recorded"
