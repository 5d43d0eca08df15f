"""How far a plan is and how long it still takes, from the run directories alone."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from acmix_exp.model_tasks import scores_in
from acmix_exp.run.directory import Run, RunState
from acmix_exp.sweep.planning import Plan

LOOKED_AT = 1000  # runs, beside those that run, whose files one look of a survey checks
MEASURED = 20  # finished runs by which the time beside the epochs is known
NEVER = (-1, -1)  # when the files of a run were written that was not looked at yet


@dataclass(frozen=True)
class Progress:
    """One run as it stands. ``epoch`` is the last finished one; ``left`` are the seconds still needed, if known.

    scores: its two metrics by key, as they are shown; empty before the first epoch. beside: of a running one, the
    seconds that it has taken beside its epochs: its start.
    """

    run: Run
    label: str
    status: RunState
    epoch: int
    epochs: int
    scores: Mapping[str, float] = field(default_factory=dict)
    left: float | None = None
    error: str | None = None
    resumed: bool = False
    epoch_seconds: float | None = None
    beside: float | None = None


class Survey:
    """The progress of a plan's distinct runs, read repeatedly: of each run only what changed since the last time.

    The first look is at all runs. A later one is at those that run, and in turn at LOOKED_AT of the others, because to
    ask the file system about ten thousand runs takes longer than the time between two looks.
    """

    def __init__(self, plan: Plan) -> None:
        self._cells = {cell.run: cell for cell in reversed(plan.cells)}
        self._runs = plan.runs
        self._changed: list[tuple[int, int]] = []
        self._read: list[Progress] = []  # without the time left
        self._rows: list[Progress] = []
        self._next = 0
        self._moved: set[int] = set()  # runs with epochs since the first look: they show how fast the machine is now
        self._finished: dict[str, list[float]] = {}  # by name of a finished run, the seconds beside its epochs

    def rows(self, *, whole: bool = False) -> list[Progress]:
        """Every run in the plan's order; the same list as before if nothing has changed.

        whole: look at all runs.
        """
        changed = False
        if not self._read:
            self._changed = [NEVER] * len(self._runs)
            self._read = [Progress(run, self._cells[run].label, "pending", 0, 0) for run in self._runs]
            whole = True
        for number in range(len(self._runs)) if whole else self._in_turn():
            changed |= self._look(number)
        if changed:
            # Runs of an earlier start may have had another machine, or a busier one.
            moved = [self._read[number] for number in sorted(self._moved)]
            timed = [row for row in moved if row.epoch_seconds is not None] or self._read
            self._rows = _with_time_left(self._read, timed, self._beside(timed))
        return self._rows

    def _beside(self, timed: Sequence[Progress]) -> float | None:
        """Seconds that a run takes beside its epochs, by the first finished ones, else by what has started."""
        known: list[float] = []
        for row in timed:
            if len(known) >= MEASURED:
                break
            if row.status == "done" and not row.resumed and row.epoch_seconds is not None:
                known += self._beside_of(row, row.epoch_seconds * row.epoch)
        if not known:
            known = [row.beside for row in timed if row.status == "running" and row.beside is not None]
        return fmean(known) if known else None

    def _beside_of(self, row: Progress, epochs: float) -> list[float]:
        """The seconds that a finished run took beside its epochs, read once; empty if they are not known."""
        if row.run.name not in self._finished:
            whole = row.run.provenance().get("seconds_in_all")
            self._finished[row.run.name] = [max(0.0, whole - epochs)] if isinstance(whole, (int, float)) else []
        return self._finished[row.run.name]

    def _in_turn(self) -> Iterable[int]:
        """The numbers of the runs to look at."""
        running = [number for number, row in enumerate(self._read) if row.status == "running"]
        first, total = self._next, len(self._runs)
        self._next = (first + LOOKED_AT) % max(1, total)
        return dict.fromkeys([*running, *(n % total for n in range(first, first + min(LOOKED_AT, total)))])

    def _look(self, number: int) -> bool:
        """Read a run if it may have changed; returns whether its progress has."""
        run, known = self._runs[number], self._read[number]
        changed = _changed(f"{run.path}/status.json"), _changed(f"{run.path}/history.csv")
        # The state of a running run, or of one taken for interrupted, also depends on whether its process is alive.
        if changed == self._changed[number]:
            if known.status not in ("running", "interrupted") or (state := run.state()) == known.status:
                return False
            self._read[number] = replace(known, status=state)
            return True
        cell = self._cells[run]
        if self._changed[number] != NEVER and changed[1] not in (0, self._changed[number][1]):
            self._moved.add(number)
        self._changed[number] = changed
        if changed == (0, 0):
            self._read[number] = Progress(run, cell.label, "pending", 0, cell.config.train.epochs)
        else:
            self._read[number] = _read(run, cell.label, cell.config.train.epochs)
        return True


def _with_time_left(rows: list[Progress], timed: Sequence[Progress], beside: float | None) -> list[Progress]:
    """timed: the runs by whose epochs the time is told.

    beside: seconds that a run takes beside its epochs, for its start and its evaluation; None: unknown.
    """
    seconds: dict[str, list[float]] = {}
    for row in timed:
        if row.epoch_seconds is not None:
            seconds.setdefault(row.label, []).append(row.epoch_seconds)
    if not seconds:
        return list(rows)
    by_label = {label: fmean(values) for label, values in seconds.items()}
    overall = fmean(value for values in seconds.values() for value in values)
    return [
        replace(row, left=_epochs_left(row) * by_label.get(row.label, overall) + _beside_left(row, beside or 0.0))
        for row in rows
    ]


def _changed(path: str) -> int:
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
    with contextlib.suppress(KeyError, ValueError, OSError):
        progress = replace(progress, epoch_seconds=fmean(float(row["seconds"]) for row in history))
        if progress.status == "running" and not resumed:
            past = os.stat(run.path / "history.csv").st_mtime - float(status["started"])
            progress = replace(progress, beside=max(0.0, past - sum(float(row["seconds"]) for row in history)))
    with contextlib.suppress(KeyError):
        last = history[-1]
        scores = {key: float(last[key]) for key in scores_in(last)}
        progress = replace(progress, epoch=min(int(float(last["epoch"])), epochs), scores=scores)
    return progress


def _epochs_left(row: Progress) -> int:
    return 0 if row.status == "done" else row.epochs if row.status == "failed" else row.epochs - row.epoch


def _beside_left(row: Progress, beside: float) -> float:
    if row.status == "done":
        return 0.0
    return max(0.0, beside - row.beside) if row.status == "running" and row.beside is not None else beside


def seconds_left(rows: Sequence[Progress], runs_at_once: int) -> float | None:
    """What the plan still takes with that many runs at once; None while it is not known."""
    open_rows = [row for row in rows if row.status in ("pending", "running", "interrupted")]
    if any(row.left is None for row in open_rows):
        return None
    ends = [0.0] * runs_at_once
    for row in sorted(open_rows, key=lambda row: row.status != "running"):
        heapq.heapreplace(ends, ends[0] + (row.left or 0.0))
    return max(ends)


def duration(seconds: float | None) -> str:
    """``1 h 05 min``, ``12 min``, ``40 s``, or ``?`` while it is not known."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
