"""How far a plan is, and how long it still takes, from the run directories alone."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from acmix_exp.run.directory import Run
from acmix_exp.sweep.planning import Plan

Timing = dict[str, list[float]]


@dataclass(frozen=True)
class Progress:
    """One run as it stands. ``epoch`` is the last finished one, ``left`` the seconds it still needs where known."""

    run: Run
    label: str
    status: str
    epoch: int
    epochs: int
    map50: float | None
    map50_95: float | None
    left: float | None
    error: str | None
    resumed: bool


def epoch_seconds(run: Run) -> float | None:
    """Mean seconds of the epochs behind the run; None before the first."""
    try:
        seconds = [float(row["seconds"]) for row in run.history()]
    except (KeyError, ValueError, csv.Error):
        return None
    return mean(seconds) if seconds else None


def timing(labelled: Sequence[tuple[str, Run]]) -> Timing:
    """Mean seconds an epoch by label, from every run that has finished one."""
    known: Timing = {}
    for label, run in labelled:
        if (seconds := epoch_seconds(run)) is not None:
            known.setdefault(label, []).append(seconds)
    return known


def survey(plan: Plan) -> list[Progress]:
    """Every distinct run of the plan, in its order."""
    cells = {cell.run: cell for cell in reversed(plan.cells)}
    known = timing([(cells[run].label, run) for run in plan.runs])
    everything = [seconds for values in known.values() for seconds in values]
    rows = []
    for run in plan.runs:
        cell = cells[run]
        status = run.status() or {"status": "pending"}
        state = run.state()
        history = run.history()
        epochs = cell.config.train.epochs
        epoch = min(int(float(history[-1]["epoch"])), epochs) if history else 0
        values = known.get(cell.label) or everything
        left = None
        if state == "done":
            left = 0.0
        elif values:
            ahead = epochs if state == "failed" else epochs - epoch
            left = ahead * mean(values)
        rows.append(
            Progress(
                run,
                cell.label,
                state,
                epoch,
                epochs,
                float(history[-1]["map50"]) if history else None,
                float(history[-1]["map50_95"]) if history else None,
                left,
                status.get("error"),
                bool(status.get("resumed")),
            )
        )
    return rows


def seconds_left(rows: Sequence[Progress], runs_at_once: int) -> float | None:
    """What the plan still takes with that many runs at once; None while it is not known."""
    open_rows = [row for row in rows if row.status in ("pending", "running", "interrupted")]
    if any(row.left is None for row in open_rows):
        return None
    ends = [0.0] * runs_at_once
    for row in sorted(open_rows, key=lambda row: row.status != "running"):
        ends[ends.index(min(ends))] += row.left or 0.0
    return max(ends)


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``12 min``, ``40 s``, or ``?`` while it is not known."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
