"""How far a plan is and how long it still takes, from the run directories alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean as mean

from acmix_exp.run.directory import Run
from acmix_exp.sweep.planning import Plan


@dataclass(frozen=True)
class Progress:
    """One run as it stands. ``epoch`` is the last finished one, ``left`` the seconds it still needs, if known."""

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


class Survey:
    """Reads the distinct runs of a plan, again and again: of each only what changed since it was last read."""

    def __init__(self, plan: Plan) -> None:
        self._cells = {cell.run: cell for cell in reversed(plan.cells)}
        self._runs = plan.runs
        self._read: dict[Run, tuple[tuple[int, int], _Facts]] = {}

    def rows(self) -> list[Progress]:
        """Every run in the plan's order."""
        facts = [self._facts(run) for run in self._runs]
        seconds: dict[str, list[float]] = {}
        for run, fact in zip(self._runs, facts, strict=True):
            if fact.epoch_seconds is not None:
                seconds.setdefault(self._cells[run].label, []).append(fact.epoch_seconds)
        mean_seconds = {label: mean(values) for label, values in seconds.items()}
        everywhere = mean(value for values in seconds.values() for value in values) if seconds else None
        return [
            self._progress(run, fact, mean_seconds.get(self._cells[run].label, everywhere))
            for run, fact in zip(self._runs, facts, strict=True)
        ]

    def _facts(self, run: Run) -> _Facts:
        stamp = _changed(run.path / "status.json"), _changed(run.path / "history.csv")
        if stamp == NOTHING:
            return _Facts()
        known = self._read.get(run)
        # The status of a run that is running also depends on whether its owner is alive.
        if known is None or known[0] != stamp or known[1].state == "running":
            known = self._read[run] = stamp, _read(run)
        return known[1]

    def _progress(self, run: Run, facts: _Facts, epoch_seconds: float | None) -> Progress:
        cell = self._cells[run]
        epochs = cell.config.train.epochs
        epoch = min(facts.epoch, epochs)
        left = None
        if facts.state == "done":
            left = 0.0
        elif epoch_seconds is not None:
            left = (epochs if facts.state == "failed" else epochs - epoch) * epoch_seconds
        scores = facts.map50, facts.map50_95
        return Progress(run, cell.label, facts.state, epoch, epochs, *scores, left, facts.error, facts.resumed)


@dataclass(frozen=True)
class _Facts:
    """What the files of a run say of its progress."""

    state: str = "pending"
    epoch: int = 0
    map50: float | None = None
    map50_95: float | None = None
    epoch_seconds: float | None = None
    error: str | None = None
    resumed: bool = False


NOTHING = (0, 0)


def _changed(path: Path) -> int:
    """When a file was last written (ns); 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _mean_seconds(history: Sequence[Mapping[str, str]]) -> float | None:
    try:
        return mean(float(row["seconds"]) for row in history) if history else None
    except (KeyError, ValueError):
        return None


def _read(run: Run) -> _Facts:
    status, history = run.status() or {}, run.history()
    last = history[-1] if history else None
    return _Facts(
        run.state(),
        int(float(last["epoch"])) if last else 0,
        float(last["map50"]) if last else None,
        float(last["map50_95"]) if last else None,
        _mean_seconds(history),
        status.get("error"),
        bool(status.get("resumed")),
    )


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
