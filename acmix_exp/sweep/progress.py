"""How far a plan is and how long it still takes, from the run directories alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from acmix_exp.run.directory import Run, RunState
from acmix_exp.sweep.planning import Plan


@dataclass(frozen=True)
class Progress:
    """One run as it stands. ``epoch`` is the last finished one; ``left`` are the seconds still needed, if known."""

    run: Run
    label: str
    status: RunState
    epoch: int
    epochs: int
    map50: float | None = None
    map50_95: float | None = None
    left: float | None = None
    error: str | None = None
    resumed: bool = False
    epoch_seconds: float | None = None


class Survey:
    """The progress of a plan's distinct runs, read repeatedly: of each run only what changed since the last time."""

    def __init__(self, plan: Plan) -> None:
        self._cells = {cell.run: cell for cell in reversed(plan.cells)}
        self._runs = plan.runs
        self._known: dict[Run, tuple[tuple[int, int], Progress]] = {}

    def rows(self) -> list[Progress]:
        """Every run in the plan's order."""
        rows = [self._progress(run) for run in self._runs]
        seconds: dict[str, list[float]] = {}
        for row in rows:
            if row.epoch_seconds is not None:
                seconds.setdefault(row.label, []).append(row.epoch_seconds)
        if not seconds:
            return rows
        by_label = {label: fmean(values) for label, values in seconds.items()}
        overall = fmean(value for values in seconds.values() for value in values)
        return [replace(row, left=_epochs_left(row) * by_label.get(row.label, overall)) for row in rows]

    def _progress(self, run: Run) -> Progress:
        """The run's progress, but for the time left."""
        changed = _changed(run.path / "status.json"), _changed(run.path / "history.csv")
        cell = self._cells[run]
        epochs = cell.config.train.epochs
        if changed == (0, 0):
            return Progress(run, cell.label, "pending", 0, epochs)
        known = self._known.get(run)
        # The state of a running run, or of one taken for interrupted, also depends on whether its process is alive.
        if known is None or known[0] != changed or known[1].status in ("running", "interrupted"):
            known = self._known[run] = changed, _read(run, cell.label, epochs)
        return known[1]


def _changed(path: Path) -> int:
    """When a file was last written (ns); 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _read(run: Run, label: str, epochs: int) -> Progress:
    status, history = run.status() or {}, run.history()
    resumed = bool(status.get("resumed"))
    progress = Progress(run, label, run.state(), 0, epochs, error=run.broken() or status.get("error"), resumed=resumed)
    if not history:
        return progress
    with contextlib.suppress(KeyError, ValueError):
        progress = replace(progress, epoch_seconds=fmean(float(row["seconds"]) for row in history))
    with contextlib.suppress(KeyError):
        epoch, map50, map50_95 = (float(history[-1][key]) for key in ("epoch", "map50", "map50_95"))
        progress = replace(progress, epoch=min(int(epoch), epochs), map50=map50, map50_95=map50_95)
    return progress


def _epochs_left(row: Progress) -> int:
    return 0 if row.status == "done" else row.epochs if row.status == "failed" else row.epochs - row.epoch


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
