"""``seeds=auto`` in the parent process: which runs the next look needs, by what the finished runs of the folder show.

Nothing is stored: the tables hold what became of each arm (report/seed_plans.py), so that the same command goes on
where an earlier one was stopped, with the same decisions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from acmix_exp.config import AUTO
from acmix_exp.errors import ConfigError
from acmix_exp.insertions import is_identity
from acmix_exp.report import sign_flips
from acmix_exp.report.planned import Asked
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Row, Table
from acmix_exp.report.seed_plans import decision_lines, recorded_looks
from acmix_exp.report.sequential import Looks
from acmix_exp.report.table import make_tables
from acmix_exp.sweep.planning import Cell, Plan

Key = tuple[str, str]  # of the cells that differ in their seed alone


def is_auto(plan: Plan) -> bool:
    return plan.cells[0].config.seeds == AUTO


def looks_of(plan: Plan) -> Looks:
    settings = plan.cells[0].config.seeds_plan
    return Looks(tuple(settings.looks), tuple(settings.shares))


class Course:
    """The looks of a command, one after another. What was decided, and what comes next, is printed once."""

    def __init__(self, plan: Plan) -> None:
        """Raises ConfigError if the plan cannot be followed in its folder."""
        refuse(plan)
        self._plan, self._said = plan, set[str]()

    def first(self) -> Plan:
        """The runs that are needed now: those of the first look, or of the one that an earlier command got to."""
        return self._needed()

    def after(self, part: Plan) -> Plan | None:
        """The runs that are needed once all of ``part`` have ended; None if there are no more."""
        later = self._needed()
        return later if set(later.runs) - set(part.runs) else None

    def _needed(self) -> Plan:
        tables = _tables(self._plan)
        rows = (row for table in tables for row in table.rows if row.comparison.in_family)
        self._say(decision_lines((row.label, row.comparison) for row in rows))
        return needed(self._plan, tables)

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line not in self._said:
                self._said.add(line)
                print(f"acmix_exp: {line[0].lower()}{line[1:]}", file=sys.stderr)


def needed(plan: Plan, tables: Sequence[Table]) -> Plan:
    """The cells of a plan that the looks so far needed, and those that the next one does.

    An arm needs the seeds up to the look that decided it, or that it goes on to; a reference those of all that are
    compared with it; what is compared with nothing, and the check of the harness, those of the first look.
    """
    of_run = {cell.run.name: _key(cell) for cell in plan.cells}
    need = dict.fromkeys(of_run.values(), looks_of(plan).seeds[0])
    for row in (row for table in tables for row in table.rows):
        found = row.comparison
        seeds = found.goes_on_to or (found.decision.seeds if found.decision else 0)
        for runs in filter(None, (row.runs, row.reference)):
            for key in {of_run[record.name] for record in runs.all_records if record.name in of_run}:
                need[key] = max(need[key], seeds)
    return replace(plan, cells=[cell for cell in plan.cells if cell.config.seed < need[_key(cell)]])


def refuse(plan: Plan) -> None:
    """Raises ConfigError if there is nothing to decide, or if the folder's runs follow another plan."""
    reference = plan.cells[0].config.report.reference
    arms = {label for cell in plan.cells for label in (cell.label, cell.alias) if label}
    compared = {cell.label for cell in plan.cells if not is_identity(cell.config)}
    if reference.split(" (")[0] not in arms:
        raise ConfigError(
            f"seeds=auto: compares with report.reference={reference}, which this command does not train; "
            f"add it: -m arm={reference},..."
        )
    if compared <= {reference}:
        raise ConfigError(f"seeds=auto: there is no arm to compare with {reference}; name some: -m arm={reference},...")
    looks = looks_of(plan)
    for record in read(plan.folder):
        other = recorded_looks(record.provenance.get("seeds_plan"))
        if other not in (None, looks):
            raise ConfigError(
                f"seeds_plan.looks={_text(looks.seeds)}, shares={_text(looks.shares)}: {record.name} was planned with "
                f"looks={_text(other.seeds)}, shares={_text(other.shares)}; give these, or another name="
            )
    runs = {run.name for run in plan.runs}
    for table in _tables(plan):
        if any(record.name in runs for row in table.rows for record in row.runs.all_records):
            for row in table.rows:
                if row.comparison.in_family:
                    _refuse_row(row, runs, plan.name)


def _refuse_row(row: Row, runs: set[str], name: str) -> None:
    """Raises ConfigError if a row of the family is not of this command, or was planned with a number of seeds."""
    if not any(record.name in runs for record in row.runs.all_records):
        raise ConfigError(
            f"seeds=auto: name={name} has runs of {row.label} too, one family with the arms of this command; add that "
            "arm, or give another name="
        )
    records = [*row.runs.all_records, *(row.reference.all_records if row.reference else ())]
    seeds, enough = len(row.comparison.deltas), sign_flips.seeds_needed()
    if seeds >= enough and not any(record.provenance.get("seeds_plan") for record in records):
        raise ConfigError(
            f"seeds=auto: name={name} has {seeds} seeds of {row.label} that another plan trained, and {enough} are "
            "enough to spend the 5 % of false claims; give another name=, or go on with seed="
        )


def _tables(plan: Plan) -> list[Table]:
    return make_tables(plan.folder, Asked.of(plan.cells[0].config.report))


def _key(cell: Cell) -> Key:
    return cell.label, repr(sorted(cell.swept.items()))


def _text(numbers: Sequence[float]) -> str:
    return f"[{','.join(f'{number:g}' for number in numbers)}]"
