"""What the finished runs of a folder say about the seeds that an experiment needs: spread, arms and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from acmix_exp.report.comparison_families import Family, headlines, of_groups
from acmix_exp.report.grouping import heading
from acmix_exp.report.notes import count
from acmix_exp.report.planned import Asked
from acmix_exp.report.read_runs import collect
from acmix_exp.report.records import ArmRuns, Group
from acmix_exp.report.row_costs import row_costs
from acmix_exp.report.sample_size import RUN_TO_DELTA, pooled


@dataclass(frozen=True)
class Pilot:
    """The finished runs of one family of tables, or of several.

    rows: arms and swept values, controls included. family: comparisons. seeds: the fewest that an arm of the family
    shares with its reference. deltas: of each arm of the family. runs: the headline of each row, by seed. run_seconds:
    mean training time, as measured with ``runs_at_once`` on ``machine``; None if nothing has finished. memory: of the
    newest run, as run/packing.py takes it.
    """

    heading: str
    rows: int
    family: int
    deltas: Sequence[Sequence[float]]
    runs: Sequence[Sequence[float]]
    run_seconds: float | None
    runs_at_once: int | str
    memory: Mapping[str, Any] | None
    machine: str

    @property
    def seeds(self) -> int:
        return min(map(len, self.deltas), default=0)

    def sd(self) -> tuple[float, int] | None:
        """The standard deviation of a delta and the number of seeds that it is from; None if it is not known.

        Of the deltas, pooled over arms. If there are none, of the runs times 1.414, as if seeds did not correlate.
        Arms share seeds and a reference, so the number is that of one arm, the smallest.
        """
        for values, factor in ((self.deltas, 1.0), (self.runs, RUN_TO_DELTA)):
            sd = pooled(values)
            if sd is not None:
                return sd * factor, min(len(arm) for arm in values if len(arm) > 1)
        return None

    @property
    def from_deltas(self) -> bool:
        return pooled(self.deltas) is not None


def read_pilots(folder: Path, asked: Asked) -> list[Pilot]:
    """One for each family of a folder's tables; none if there is no run that can be read."""
    groups = collect(folder)[0]
    families = {tuple(family.tables): family for family in of_groups(groups, asked)[0]}
    return [_pilot([groups[table - 1] for table in tables], family, asked) for tables, family in families.items()]


def _pilot(groups: Sequence[Group], family: Family, asked: Asked) -> Pilot:
    rows: dict[frozenset[str], ArmRuns] = {}  # a reference may be in several tables
    seconds = []
    for group in groups:
        costs, _ = row_costs(group.rows, asked.reference, {})
        seconds += [cost.train_seconds for cost in costs if cost.train_seconds is not None]
        rows |= {frozenset(record.name for record in row.all_records): row for row in group.rows}
    records = [record for row in rows.values() for record in row.records]
    newest = max(records, key=lambda record: record.status.get("started") or 0.0, default=None)
    more = f", and {count(len(groups) - 1, 'more table')} of the same family" if len(groups) > 1 else ""
    return Pilot(
        heading=heading(groups[0].settings) + more,
        rows=len(rows),
        family=len(family.comparisons),
        deltas=[list(comparison.deltas.values()) for comparison in family.comparisons.values()],
        runs=[list(headlines(row).values()) for row in rows.values()],
        run_seconds=fmean(seconds) if seconds else None,
        runs_at_once=(newest.config.get("hardware") or {}).get("runs_at_once", 1) if newest else 1,
        memory=newest.provenance.get("memory") if newest else None,
        machine=newest.machine if newest else "",
    )


def together(pilots: Sequence[Pilot]) -> Pilot:
    """Several tables as one, for a command that names its own arms; an empty one of none."""
    timed = [pilot for pilot in pilots if pilot.run_seconds is not None]
    return Pilot(
        heading="",
        rows=sum(pilot.rows for pilot in pilots),
        family=sum(pilot.family for pilot in pilots),
        deltas=[arm for pilot in pilots for arm in pilot.deltas],
        runs=[row for pilot in pilots for row in pilot.runs],
        run_seconds=fmean(pilot.run_seconds for pilot in timed if pilot.run_seconds is not None) if timed else None,
        runs_at_once=timed[-1].runs_at_once if timed else 1,
        memory=timed[-1].memory if timed else None,
        machine=timed[-1].machine if timed else "",
    )
