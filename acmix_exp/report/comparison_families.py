"""Which comparisons are one family, and what the joint test says of each.

All tables that share a run of a reference are one family, however many commands made them. A comparison of the same
runs in several tables, such as that of a control, counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

from acmix_exp.config import IDENTITY
from acmix_exp.report.harness import is_harness_check
from acmix_exp.report.planned import Asked, fixed_margin
from acmix_exp.report.records import ArmRuns, Group, contrast_label
from acmix_exp.report.seed_plans import with_plan
from acmix_exp.report.sequential import Looks
from acmix_exp.report.statistics import (
    Comparison,
    Verdict,
    compare_alone,
    compare_family,
    differences,
    verdict_with_diverged,
)

Pair = tuple[ArmRuns, ArmRuns]  # a row and the row that it is compared with
Key = tuple[frozenset[str], frozenset[str], str]  # of a pair: the names of the runs, and the label of a row without any


@dataclass(frozen=True)
class Family:
    """Comparisons that are judged together. ``tables``: their numbers, from 1; ``between``: how many are not with the
    reference. ``margin``: of equivalence, with a note if it is not the one asked for. ``plan_notes``: on the planned
    seeds; ``looks``: those of seeds=auto.
    """

    tables: Sequence[int] = ()
    between: int = 0
    margin: float | None = None
    margin_note: str = ""
    labels: Mapping[Key, str] = field(default_factory=dict)
    comparisons: Mapping[Key, Comparison] = field(default_factory=dict)
    plan_notes: Sequence[str] = ()
    looks: Looks | None = None

    def comparison(self, pair: Pair) -> Comparison:
        return self.comparisons[_key(pair)]

    @property
    def seeds(self) -> list[int]:
        """Those of the joint test."""
        return sorted({seed for comparison in self.comparisons.values() for seed in comparison.joint_seeds})

    @property
    def lacking(self) -> dict[int, list[str]]:
        """The seeds that the joint test does not use, though some of its comparisons have them: who lacks them."""
        tested = {key: comparison for key, comparison in self.comparisons.items() if comparison.joint_seeds}
        seeds = sorted({seed for comparison in tested.values() for seed in comparison.deltas} - set(self.seeds))
        return {
            seed: [self.labels[key] for key, comparison in tested.items() if seed not in comparison.deltas]
            for seed in seeds
        }

    @property
    def left_out(self) -> list[str]:
        """The comparisons that the joint test leaves out because of their few seeds."""
        return [self.labels[key] for key, found in self.comparisons.items() if found.n and not found.joint_seeds]


def reference_row(group: Group, row: ArmRuns, reference: str) -> ArmRuns | None:
    """The row of the reference arm with the same value on every axis that both depend on.

    None for that arm itself, and if there are several.
    """
    if row.arm == reference:
        return None
    fitting = [
        other
        for other in group.rows
        if other.arm == reference
        and all(None in (value, row.swept[key]) or value == row.swept[key] for key, value in other.swept.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def in_family(row: ArmRuns, other: ArmRuns) -> bool:
    """Whether a comparison is a finding about arms: those of identity check the harness."""
    return row.block != IDENTITY and not is_harness_check(row, other)


def between_rows(group: Group, reference: str) -> list[Pair]:
    """The pairs of rows that differ in one thing, their arm or one swept value; without those with the reference."""
    rows = [row for row in group.rows if row.block != IDENTITY]
    with_reference = {id(row): id(reference_row(group, row, reference)) for row in rows}
    return [
        (second, first)
        for first, second in combinations(rows, 2)
        if _differences(first, second) == 1
        and with_reference[id(first)] != id(second)
        and with_reference[id(second)] != id(first)
    ]


def _differences(first: ArmRuns, second: ArmRuns) -> int:
    """In how many things two rows differ; an axis that one of them does not depend on is none."""
    values = zip(first.swept.values(), second.swept.values(), strict=True)
    return (first.arm != second.arm) + sum(one != other for one, other in values if None not in (one, other))


def of_groups(groups: Sequence[Group], asked: Asked) -> tuple[list[Family], list[list[Pair]]]:
    """The family of each group of runs, and its pairs of rows that are compared without a reference."""
    with_reference, between = [], []
    for group in groups:
        pairs = ((row, reference_row(group, row, asked.reference)) for row in group.rows)
        with_reference.append([(row, other) for row, other in pairs if other and in_family(row, other)])
        between.append(between_rows(group, asked.reference) if asked.pairs == "all" else [])
    return families(with_reference, between, asked), between


def families(references: Sequence[Sequence[Pair]], between: Sequence[Sequence[Pair]], asked: Asked) -> list[Family]:
    """The family of each table, given the tables' pairs with a reference and those between rows."""
    found: dict[int, Family] = {}
    for tables in _connected([[*first, *second] for first, second in zip(references, between, strict=True)]):
        pairs: dict[Key, Pair] = {}
        labels: dict[Key, str] = {}
        for table in tables:
            suffix = f" (table {table + 1})" if len(tables) > 1 else ""
            for pair in references[table]:
                labels.setdefault(_key(pair), pair[0].label + suffix)
            for pair in between[table]:
                labels.setdefault(_key(pair), contrast_label(*pair) + suffix)
            pairs |= {_key(pair): pair for pair in (*references[table], *between[table])}
        margin, note = fixed_margin(asked, [run for pair in pairs.values() for row in pair for run in row.all_records])
        with_reference = {_key(pair) for table in tables for pair in references[table]}
        planned = with_plan(
            list(pairs.values()),
            [labels[key] for key in pairs],
            [key in with_reference for key in pairs],
            margin,
            partial(_compared, margin=margin),
        )
        comparisons = dict(zip(pairs, planned.comparisons, strict=True))
        numbers = [table + 1 for table in tables]
        family = Family(
            numbers, len(pairs.keys() - with_reference), margin, note, labels, comparisons, planned.notes, planned.looks
        )
        found |= dict.fromkeys(tables, family)
    return [found[table] for table in range(len(references))]


def alone(row: ArmRuns, other: ArmRuns | None) -> Comparison:
    """A comparison that is in no family: it has no verdict, unless runs of it diverged."""
    deltas = differences(headlines(row), headlines(other)) if other else {}
    return _with_diverged(compare_alone([deltas])[0], None, row, other)


def _compared(pairs: Sequence[Pair], margin: float | None) -> list[Comparison]:
    """One family. What the diverged runs change of a verdict is found by a second test, with them at mAP 0."""
    found = compare_family([differences(headlines(row), headlines(other)) for row, other in pairs], margin)
    if not any(arm.diverged for pair in pairs for arm in pair):
        return found
    at_zero = compare_family([differences(_at_zero(row), _at_zero(other)) for row, other in pairs], margin)
    return [
        _with_diverged(comparison, zero.verdict, *pair)
        for comparison, zero, pair in zip(found, at_zero, pairs, strict=True)
    ]


def _with_diverged(comparison: Comparison, at_zero: Verdict | None, row: ArmRuns, other: ArmRuns | None) -> Comparison:
    if not row.diverged and not (other and other.diverged):
        return comparison
    verdict = verdict_with_diverged(comparison.verdict, at_zero, own=bool(row.diverged))
    return replace(comparison, verdict=verdict)


def headlines(row: ArmRuns) -> dict[int, float]:
    """The headline by seed, of the finished runs."""
    return {seed: record.result.headline for seed, record in row.runs.items() if record.result}


def _at_zero(row: ArmRuns) -> dict[int, float]:
    return {**dict.fromkeys(row.diverged, 0.0), **headlines(row)}


def _key(pair: Pair) -> Key:
    first, second = (frozenset(record.name for record in row.all_records) for row in pair)
    return first, second, "" if first and second else contrast_label(*pair)


def _connected(tables: Sequence[Sequence[Pair]]) -> list[list[int]]:
    """The tables, by place, that are connected by runs of the rows that others are compared with."""
    groups: list[tuple[list[int], set[str]]] = []
    for table, pairs in enumerate(tables):
        names = {record.name for _, other in pairs for record in other.all_records}
        touching = [group for group in groups if group[1] & names]
        groups = [group for group in groups if not group[1] & names]
        merged = [place for places, _ in touching for place in places]
        groups.append(([*merged, table], names.union(*(shared for _, shared in touching))))
    return [sorted(places) for places, _ in groups]
