"""Costs of the runs of a row; times are of one type of machine, and a note says where they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from acmix_exp.files import read_json
from acmix_exp.report.language import tr
from acmix_exp.report.recorded_words import machine_name
from acmix_exp.report.records import ArmRuns, Cost, Spread

TIMES = [field.name for field in fields(Cost) if field.name.startswith("latency_ms")]
NETWORK = [field.name for field in fields(Cost) if field.name.startswith(("parameters", "gflops"))]


def read_profile(folder: Path) -> dict[str, Any]:
    """The profile.json that ``task=profile`` left in an experiment's folder, its ``rows`` checked; empty if none."""
    content = read_json(folder / "profile.json") or {}
    rows = content.get("rows")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {**content, "rows": rows} if rows else {}


def row_costs(rows: Sequence[ArmRuns], reference: str, profile: dict[str, Any]) -> tuple[list[Cost], list[str]]:
    """The costs of each row, and notes on them.

    Training time is a mean and memory the highest, over the runs on one kind of machine (_timed_on). Latencies are
    those of ``task=profile`` if it timed, on that machine, every network of the table at its image size; else means
    over those runs.
    """
    machine = _timed_on(rows, reference, machine_name(profile.get("hardware")) if profile else None)
    costs = [_measured(row, machine) for row in rows]
    notes = _other_machines(rows, machine)
    if profile:
        costs, note = _with_profile(rows, costs, profile, machine)
        notes.append(note)
    if old := list(dict.fromkeys(row.arm for row, cost in zip(rows, costs, strict=True) if _counts_published(cost))):
        text = (
            "GFLOPs of {arms} are those of the published form of the block, as version 0.1 counted; "
            "python -m scripts.recount_costs FOLDER counts what runs."
        )
        notes.append(tr(text, arms=", ".join(old)))
    if any(cost.latency_from == "shared" for cost in costs):
        notes.append(tr("Latencies were measured while other runs were training; task=profile measures them alone."))
    return costs, notes


def _timed_on(rows: Sequence[ArmRuns], reference: str, preferred: str | None) -> str | None:
    """The kind of machine whose times are in the table: one that every row with a finished run has runs on,
    preferably ``preferred``; if there is none, one of the reference's. None without finished runs.

    Of several the one with the most rows, then runs.
    """
    counts = [(row.arm, _machines(row)) for row in rows if row.runs]

    def rank(name: str) -> tuple[bool, bool, bool, int, int]:
        arms = [arm for arm, machines in counts if name in machines]
        everywhere = len(arms) == len(counts)
        runs = sum(machines[name] for _, machines in counts)
        return everywhere, everywhere and name == preferred, reference in arms, len(arms), runs

    return max((name for _, machines in counts for name in machines), key=rank, default=None)


def _machines(row: ArmRuns) -> Counter[str]:
    """The number of finished runs on each kind of machine."""
    return Counter(record.machine for record in row.runs.values())


def _measured(row: ArmRuns, machine: str | None) -> Cost:
    costs = [(record.result.cost, record.machine) for record in row.records if record.result]
    timed = [cost for cost, measured_on in costs if measured_on == machine]
    alone = all(cost.get("latency_alone", True) for cost in timed)
    means: dict[str, Any] = {
        name: Spread.of(cost.get(name) for cost in timed).mean for name in (*TIMES, "train_seconds")
    }
    # Of one run, because runs of version 0.1 counted the published form; a newer run's figures are preferred.
    counted = max((cost for cost, _ in costs), key=lambda cost: cost.get("gflops_published") is not None, default={})
    network = {name: counted.get(name) for name in NETWORK}
    memory = [cost["peak_memory_mb"] for cost in timed if cost.get("peak_memory_mb") is not None]
    latency_from = None if means["latency_ms_b1"] is None else "run" if alone else "shared"
    return Cost(**network, **means, peak_memory_mb=max(memory, default=None), latency_from=latency_from)


def _with_profile(
    rows: Sequence[ArmRuns], costs: list[Cost], profile: dict[str, Any], machine: str | None
) -> tuple[list[Cost], str]:
    """The costs with the latencies of ``task=profile``, of all rows or of none; and a note that says which."""
    profiled_on = machine_name(profile.get("hardware"))
    if profiled_on != machine:
        text = "Latencies of task=profile are left out: it ran on {there}, not on {here}."
        return costs, tr(text, there=_name(profiled_on), here=_name(machine))
    if others := _of_other_code(rows, profile):
        text = "Latencies of task=profile are left out: it imported other code than {arms}."
        return costs, tr(text, arms=", ".join(others))
    profiled = [
        next((entry["cost"] for entry in profile["rows"] if _is_same_network(row, cost, entry)), None)
        for row, cost in zip(rows, costs, strict=True)
    ]
    lacking = dict.fromkeys(row.arm for row, entry in zip(rows, profiled, strict=True) if row.runs and entry is None)
    if lacking:
        text = (
            "Latencies of task=profile are left out: it did not time {arms} as trained here, and one column is "
            "measured in one way."
        )
        return costs, tr(text, arms=", ".join(lacking))
    on_threads = profile.get("device") == "cpu" and profile.get("threads")
    threads = tr(", threads: {number}", number=profile["threads"]) if on_threads else ""
    device = f"{_name(profiled_on)}{threads}"
    return [
        replace(cost, **{name: entry.get(name) for name in TIMES}, latency_from="profile", profiled_on=device)
        if entry
        else cost
        for cost, entry in zip(costs, profiled, strict=True)
    ], tr("Latencies are those of task=profile: the networks in turn, on {machine}.", machine=device)


def fps_note(rows: Sequence[ArmRuns], costs: Sequence[Cost]) -> str:
    """What FPS is, or why it is empty."""
    without = [row.arm for row, cost in zip(rows, costs, strict=True) if row.runs and cost.fps is None]
    if without:
        text = "FPS is empty for {arms}: it needs the latencies of task=profile, by the command of the runs"
        return tr(text, arms=", ".join(dict.fromkeys(without)))
    devices = ", ".join(dict.fromkeys(str(cost.profiled_on) for cost in costs if cost.fps is not None))
    text = "FPS: 1000 / latency in ms, of one image at a time (batch 1), in float32, on {machines}"
    return tr(text, machines=devices)


def _of_other_code(rows: Sequence[ArmRuns], profile: dict[str, Any]) -> list[str]:
    """The arms whose runs imported changed or foreign packages that task=profile did not, or the other way round."""
    facts = {name: fact for name, fact in (profile.get("imported") or {}).items() if fact.get("kind") != "startup"}
    code = {name: str(fact["sha256"])[:16] for name, fact in facts.items() if "sha256" in fact}
    return [row.arm for row in rows if any((record.identity.get("code") or {}) != code for record in row.records)]


def _is_same_network(row: ArmRuns, cost: Cost, entry: dict[str, Any]) -> bool:
    result = next((record.result for record in row.records), None)
    profiled = entry.get("cost")
    return (
        result is not None
        and isinstance(profiled, dict)
        and isinstance(profiled.get("latency_ms_b1"), (int, float))
        and entry.get("arm") == row.arm
        and entry.get("imgsz") == result.imgsz
        and all((entry.get("swept") or {}).get(key) == value for key, value in row.swept.items())
        and profiled.get("parameters") == cost.parameters
        and profiled.get("gflops_published", profiled.get("gflops")) == (cost.gflops_published or cost.gflops)
    )


def _counts_published(cost: Cost) -> bool:
    return bool(cost.gflops_block) and cost.gflops_published is None


def _other_machines(rows: Sequence[ArmRuns], machine: str | None) -> list[str]:
    """Notes on the runs that count only for accuracy, because they were timed on another kind of machine."""
    others = list(dict.fromkeys(name for row in rows for name in _machines(row) if name != machine))
    if not others:
        return []
    without = list(dict.fromkeys(row.arm for row in rows if row.runs and machine not in _machines(row)))
    text = "Times and memory are those of the runs on {machine}; the runs on {others} count only for accuracy."
    notes = [tr(text, machine=_name(machine), others=", ".join(map(_name, others)))]
    if without:
        arms = ", ".join(without)
        notes.append(tr("{arms}: no run on {machine}, so no times.", arms=arms, machine=_name(machine)))
    return notes


def _name(machine: str | None) -> str:
    return machine or tr("a machine that was not recorded")
