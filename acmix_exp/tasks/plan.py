"""``task=plan``: the matrix, what is done, what is left, and the hours it will take. Starts nothing."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from acmix_exp.console import console
from acmix_exp.files import read_json
from acmix_exp.run.directory import runs_in
from acmix_exp.sweep.planning import Plan
from acmix_exp.sweep.progress import duration, seconds_left, survey, timing


def show_plan(plan: Plan, runs_at_once: int) -> None:
    """Print the plan's cells with the status of each, and the time left as far as earlier runs tell it."""
    rows = survey(plan)
    labelled = [((read_json(run.path / "status.json") or {}).get("arm", ""), run) for run in runs_in(plan.folder)]
    by_run = {row.run: row for row in rows}
    swept = list(dict.fromkeys(key for cell in plan.cells for key in cell.swept))
    table = Table(
        title=f"{plan.name}: {_count(len(plan.cells), 'cell')}, {_count(len(rows), 'run')}", title_justify="left"
    )
    for column in ("arm", "seed", *swept, "status", "run"):
        table.add_column(escape(column))
    shown = set()
    for cell in plan.cells:
        row = by_run[cell.run]
        values = ["" if cell.swept.get(key) is None else str(cell.swept[key]) for key in swept]
        status = row.status if not row.epoch or row.status == "done" else f"{row.status}, {row.epoch}/{row.epochs}"
        arm = f"{cell.asked} (the {cell.label} itself)" if cell.asked else cell.label
        line = (arm, str(cell.config.seed), *values, status, cell.run.name)
        if line not in shown:  # a baseline is a cell of every block, and one run
            shown.add(line)
            table.add_row(*map(escape, line))
    done = sum(row.status == "done" for row in rows)
    left = seconds_left(rows, runs_at_once)
    if done == len(rows):
        time = "nothing is left"
    elif left is not None:
        time = f"about {duration(left)} of training with {runs_at_once} at once"
    else:
        time = "how long is not known before a first epoch" + ("" if not timing(labelled) else " of each arm")
    console().print(Group(table, f"{done} done, {len(rows) - done} left: {time}"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
