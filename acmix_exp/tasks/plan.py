"""``task=plan``: print the runs of a command, their status and the time left. Starts nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from rich.console import Group
from rich.table import Table

from acmix_exp import executors
from acmix_exp.block_rules import missing_library
from acmix_exp.console import console, text_table
from acmix_exp.insertions import insertions
from acmix_exp.run.directory import RunState
from acmix_exp.sweep.planning import Cell, Plan, of_older_sampling
from acmix_exp.sweep.progress import Progress, Survey, duration, seconds_left
from acmix_exp.tasks.looks import Course, is_auto


def plan(sweep: Plan) -> int:
    """Print the first ``plan.rows`` cells, counts by arm and status, and the time left; returns the exit code.

    With seeds=auto the cells are those that the looks so far needed and the next one does.
    """
    for line in of_older_sampling(sweep):
        print(f"acmix_exp: {line}", file=sys.stderr)
    most = ""
    if is_auto(sweep):
        most = f" for the next look; at most {_count(len(sweep.runs), 'run')} in all"
        sweep = Course(sweep).first()
    rows = Survey(sweep).rows()
    jobs = executors.jobs(sweep.folder)
    limit = sweep.cells[0].config.plan.rows
    lines = list(_distinct(sweep.cells, {row.run: row for row in rows}, jobs))
    printed = lines if limit == "all" else lines[:limit]
    more = [f"and {len(lines) - len(printed)} more; plan.rows=all prints them"] if len(printed) < len(lines) else []
    title = f"{sweep.name}: {_count(len(sweep.cells), 'cell')}, {_count(len(sweep.runs), 'run')}{most}"
    cells = text_table(
        title, ("arm", "seed", *sweep.cells[0].swept, "status", *(["job"] if jobs else []), "run"), [], printed
    )
    marks = {cell.label: _needed(cell) for cell in sweep.cells}
    console().print(Group(cells, *more, _counts(rows, marks), _left(rows, sweep.runs_at_once)))
    return 0


def _distinct(
    cells: Iterable[Cell], rows: Mapping[object, Progress], jobs: Mapping[str, str]
) -> dict[tuple[str, ...], None]:
    """One line per cell without duplicates: the baseline is a cell of every swept block, but one run."""
    lines: dict[tuple[str, ...], None] = {}
    for cell in cells:
        row = rows[cell.run]
        status = row.status if not row.epoch or row.status == "done" else f"{row.status}, {row.epoch}/{row.epochs}"
        arm = f"{cell.alias} (same as {cell.label})" if cell.alias else cell.label
        arm += _needed(cell)
        values = ("" if value is None else str(value) for value in cell.swept.values())
        job = [jobs.get(cell.run.name, "")] if jobs else []
        lines[(arm, str(cell.config.seed), *values, status, *job, cell.run.name)] = None
    return lines


def _needed(cell: Cell) -> str:
    """What of this package is not installed that the cell's blocks need, in words that follow its arm."""
    missing = dict.fromkeys(filter(None, (missing_library(each.block) for each in insertions(cell.config))))
    return "".join(f" (needs acmix_exp[{library}])" for library in missing)


def _counts(rows: Sequence[Progress], marks: Mapping[str, str]) -> Table:
    """Runs by arm and status. marks: what follows the name of an arm."""
    counts = Counter((row.label, row.status) for row in rows)
    statuses = [status for status in get_args(RunState) if any(status == counted for _, counted in counts)]
    labels = dict.fromkeys(row.label for row in rows)
    lines = [
        (f"{label}{marks.get(label, '')}", *(str(counts[label, status] or "") for status in statuses))
        for label in labels
    ]
    return text_table("", ["arm"], statuses, lines)


def _left(rows: Sequence[Progress], runs_at_once: int) -> str:
    done = sum(row.status == "done" for row in rows)
    left = seconds_left(rows, runs_at_once)
    if done == len(rows):
        time = "nothing to do"
    elif left is None:
        time = "time left is unknown until an epoch has finished"
    else:
        time = f"about {duration(left)} of training with {runs_at_once} at once"
    return f"{done} done, {len(rows) - done} left: {time}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
