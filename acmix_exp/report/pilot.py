"""What the finished runs of a folder say about the seeds that an experiment needs: spread, arms and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from acmix_exp.report.comparison_families import in_family, map50_95, reference_row
from acmix_exp.report.grouping import heading
from acmix_exp.report.read_runs import collect
from acmix_exp.report.records import Group
from acmix_exp.report.row_costs import row_costs
from acmix_exp.report.sample_size import RUN_TO_DELTA, pooled
from acmix_exp.report.statistics import differences


@dataclass(frozen=True)
class Pilot:
    """The finished runs of one table, or of several.

    rows: arms and swept values, controls included. family: comparisons. seeds: the fewest that an arm of the family
    shares with its reference. deltas: of each arm of the family. runs: mAP of each row, by seed. run_seconds: mean
    training time, as measured with ``runs_at_once`` on ``machine``; None if nothing has finished.
    """

    heading: str
    rows: int
    family: int
    deltas: Sequence[Sequence[float]]
    runs: Sequence[Sequence[float]]
    run_seconds: float | None
    runs_at_once: int
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


def read_pilots(folder: Path, reference: str) -> list[Pilot]:
    """One for each table of a folder; none if there is no run that can be read."""
    return [_pilot(group, reference) for group in collect(folder)[0]]


def _pilot(group: Group, reference: str) -> Pilot:
    with_reference = [(row, reference_row(group, row, reference)) for row in group.rows]
    pairs = [(row, other) for row, other in with_reference if other and in_family(row, other)]
    seconds = [cost.train_seconds for cost in row_costs(group.rows, reference, {})[0]]
    known = [each for each in seconds if each is not None]
    records = [record for row in group.rows for record in row.records]
    newest = max(records, key=lambda record: record.status.get("started") or 0.0, default=None)
    hardware = (newest.config.get("hardware") or {}) if newest else {}
    return Pilot(
        heading=heading(group.settings),
        rows=len(group.rows),
        family=len(pairs),
        deltas=[list(differences(map50_95(row), map50_95(other)).values()) for row, other in pairs],
        runs=[list(map50_95(row).values()) for row in group.rows],
        run_seconds=fmean(known) if known else None,
        runs_at_once=int(hardware.get("runs_at_once", 1)),
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
        machine=timed[-1].machine if timed else "",
    )
