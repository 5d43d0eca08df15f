"""The table: one row an arm and swept value, with means, paired deltas and costs."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from acmix_exp.report import statistics
from acmix_exp.report.collect import Group, Record, Row, collect

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


def summarise(folder: Path) -> list[dict[str, Any]]:
    """Every table of a folder: ``settings``, ``swept_keys``, ``rows`` (with COLUMNS) and ``notes`` in words."""
    groups, unreadable = collect(folder)
    tables = [_table(group) for group in groups]
    for table in tables[:1]:
        table["notes"] += [f"{name} is left out: its config.yaml can't be read" for name in unreadable]
    return tables


def _table(group: Group) -> dict[str, Any]:
    deltas = [_delta(row, _reference(group, row)) for row in group.rows]
    family = sum(delta is not None for delta in deltas)
    adjusted = statistics.holm([delta.p if delta else None for delta in deltas])
    rows = [
        _row(row, delta, p_adjusted, family)
        for row, delta, p_adjusted in zip(group.rows, deltas, adjusted, strict=True)
    ]
    notes = _notes(group, rows, family)
    return {"settings": group.settings, "swept_keys": group.swept_keys, "rows": rows, "notes": notes}


def _reference(group: Group, row: Row) -> Row | None:
    """The baseline's row with the same value on every axis that the baseline depends on; None for a baseline itself."""
    if row.arm == REFERENCE:
        return None
    for other in group.rows:
        if other.arm == REFERENCE and all(
            value is None or value == row.swept[key] for key, value in other.swept.items()
        ):
            return other
    return None


def _delta(row: Row, reference: Row | None) -> statistics.Delta | None:
    if reference is None:
        return None
    seeds = sorted(row.runs.keys() & reference.runs.keys())
    return statistics.paired([_map(row.runs[seed]) for seed in seeds], [_map(reference.runs[seed]) for seed in seeds])


def _map(record: Record, key: str = "map50_95") -> float:
    assert record.result is not None
    return float(record.result["metrics"][key])


def _row(row: Row, delta: statistics.Delta | None, p_adjusted: float | None, family: int) -> dict[str, Any]:
    runs = [row.runs[seed] for seed in sorted(row.runs)]
    maps = [_map(run) for run in runs]
    costs = [run.result["cost"] for run in runs if run.result]

    def cost(key: str) -> Any:
        values = [value[key] for value in costs if value.get(key) is not None]
        if not values:
            return None
        return mean(values) if key == "latency_ms_b1" else values[0]

    return {
        "arm": row.arm,
        **row.swept,
        "n": len(runs),
        "map50_95_mean": mean(maps) if maps else None,
        "map50_95_std": stdev(maps) if len(maps) > 1 else None,
        "map50_mean": mean(_map(run, "map50") for run in runs) if runs else None,
        "delta_mean": delta.mean if delta else None,
        "delta_low": delta.low if delta else None,
        "delta_high": delta.high if delta else None,
        "p": delta.p if delta else None,
        "p_adjusted": p_adjusted,
        "p_floor": statistics.floor(delta.n, family) if delta and delta.n else None,
        "verdict": statistics.verdict(delta, p_adjusted, family)
        if delta
        else ("reference" if row.arm == REFERENCE else None),
        "parameters": cost("parameters"),
        "gflops": cost("gflops"),
        "latency_ms_b1": cost("latency_ms_b1"),
    }


def _notes(group: Group, rows: list[dict[str, Any]], family: int) -> list[str]:
    notes = []
    if family:
        needed = statistics.seeds_needed(family)
        fewest = min(row["n"] for row in rows)
        notes.append(
            f"A claim at 5 % over {family} comparison{'s' if family > 1 else ''} needs at least {needed} paired seeds; "
            f"the fewest here are {fewest}."
        )
    elif any(row["arm"] != REFERENCE for row in rows):
        notes.append("There is no baseline with these settings, so there are no deltas; add arm=baseline.")
    seeds = {seed for row in group.rows for seed in row.runs}
    for row in group.rows:
        name = " ".join([row.arm, *(f"{key}={value}" for key, value in row.swept.items() if value is not None)])
        for record in row.unfinished:
            error = f": {record.status['error']}" if record.status.get("error") else ""
            notes.append(f"{name} seed {record.seed} is {record.status['status']}{error}")
        lacking = seeds - row.runs.keys() - {record.seed for record in row.unfinished}
        if lacking:
            notes.append(
                f"{name} has no run of seed {', '.join(map(str, sorted(lacking)))}; deltas use the seeds in common"
            )
        resumed = [str(seed) for seed, record in sorted(row.runs.items()) if record.status.get("resumed")]
        if resumed:
            notes.append(f"{name} seed {', '.join(resumed)} was interrupted and resumed, which is not bit-exact")
        if row.repeated:
            notes.append(f"{name} has a second run of seed {', '.join(str(r.seed) for r in row.repeated)}, left out")
        first = next(iter(row.runs.values()), None)
        audit = first.provenance.get("transfer") if first and first.config["model"]["pretrained"] else None
        if audit:
            counts = ", ".join(f"{len(names)} {kind}" for kind, names in audit.items())
            notes.append(f"{name}: tensors of the pretrained weights {counts} (by name in provenance.json)")
    for seed in sorted(seeds):
        proofs = {row.runs[seed].provenance.get("seed_proof") for row in group.rows if seed in row.runs}
        if len(proofs) > 1:
            notes.append(f"seed {seed}: not all rows saw the same first batches, so its deltas are not paired")
    versions = {
        (
            record.provenance.get("versions", {}).get("ultralytics"),
            (record.provenance.get("git") or {}).get("commit"),
        )
        for row in group.rows
        for record in row.runs.values()
    }
    if len(versions) > 1:
        notes.append(f"The runs come from {len(versions)} different versions or commits (provenance.json of each).")
    return notes
