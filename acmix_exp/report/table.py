"""The tables of a folder: one row per arm and combination of swept values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.config import IDENTITY
from acmix_exp.report.grouping import heading
from acmix_exp.report.harness import check_harness, harness_verdict, is_harness_check
from acmix_exp.report.image_intervals import image_intervals
from acmix_exp.report.notes import notes
from acmix_exp.report.read_runs import collect
from acmix_exp.report.records import ArmRuns, Cost, Group, Interval, Row, Spread, Table
from acmix_exp.report.row_costs import read_profile, row_costs
from acmix_exp.report.statistics import LEVEL, Comparison, Pair, Verdict, compare, verdict_with_diverged

REFERENCE = "baseline"


def make_tables(folder: Path, reference: str = REFERENCE) -> list[Table]:
    """All tables of a folder of runs; ``reference`` is the arm that the others are compared with."""
    groups, left_out = collect(folder)
    profile = read_profile(folder)
    tables = [_table(group, reference, profile) for group in groups]
    return [replace(table, notes=[*table.notes, *left_out]) for table in tables[:1]] + tables[1:]


def _table(group: Group, reference: str, profile: dict[str, Any]) -> Table:
    """The harness check is a family of one: a fault that it shows is no finding about a block."""
    pairs = [(row, reference_row(group, row, reference)) for row in group.rows]
    comparisons, at_zero = (
        compare([Pair(maps(row), maps(other) if other else None, _in_family(row, other)) for row, other in pairs])
        for maps in (_map50_95, _with_diverged_at_zero)
    )
    stock = next((row for row in group.rows if row.block is None), None)
    costs, cost_notes = row_costs(group.rows, reference, profile)
    images, image_notes = image_intervals(pairs)
    rows = [
        _row(runs, other, _judged(comparison, zero.verdict, runs, other, reference, stock), interval, cost)
        for (runs, other), comparison, zero, interval, cost in zip(
            pairs, comparisons, at_zero, images, costs, strict=True
        )
    ]
    family = sum(row.comparison.in_family for row in rows)
    return Table(
        heading=heading(group.settings),
        settings=group.settings,
        swept_keys=group.swept_keys,
        reference=reference,
        family=family,
        rows=rows,
        notes=[*notes(group, rows, reference, family), *image_notes, *cost_notes],
    )


def reference_row(group: Group, row: ArmRuns, reference: str = REFERENCE) -> ArmRuns | None:
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


def _in_family(row: ArmRuns, other: ArmRuns | None) -> bool:
    return other is not None and row.block != IDENTITY and not is_harness_check(row, other)


def _map50_95(row: ArmRuns) -> dict[int, float]:
    return {seed: record.result.map50_95 for seed, record in row.runs.items() if record.result}


def _with_diverged_at_zero(row: ArmRuns) -> dict[int, float]:
    return {**dict.fromkeys(row.diverged, 0.0), **_map50_95(row)}


def _judged(
    comparison: Comparison,
    at_zero: Verdict | None,
    row: ArmRuns,
    other: ArmRuns | None,
    reference: str,
    stock: ArmRuns | None,
) -> Comparison:
    """With the verdict that does not follow from the p value alone; ``at_zero`` is it with diverged runs at mAP 0.

    stock: the row of the stock network, which identity is checked against whatever the reference is.
    """
    if row.arm == reference:
        return replace(comparison, verdict=Verdict.REFERENCE)
    if other is not None and is_harness_check(row, other):
        return replace(comparison, verdict=harness_verdict(check_harness(row, other), comparison.delta))
    if row.block == IDENTITY:
        return replace(comparison, verdict=_harness(row, stock))
    if row.diverged or (other and other.diverged):
        verdict = verdict_with_diverged(comparison.verdict, at_zero, own=bool(row.diverged))
        return replace(comparison, verdict=verdict)
    return comparison


def _harness(row: ArmRuns, stock: ArmRuns | None) -> Verdict | None:
    if stock is None:
        return None
    (comparison,) = compare([Pair(_map50_95(row), _map50_95(stock), in_family=False)])
    return harness_verdict(check_harness(row, stock), comparison.delta)


def _row(runs: ArmRuns, other: ArmRuns | None, comparison: Comparison, images: Interval, cost: Cost) -> Row:
    names = ("map50_95", "map50", "precision", "recall", "val_last", "val_best")
    spreads = {name: Spread.of(getattr(record.result, name) for record in runs.records) for name in names}
    return Row(runs=runs, reference=other, **spreads, comparison=comparison, images=images, cost=cost)


def best_row(rows: Sequence[Row]) -> Row | None:
    """The row with the highest mean, if the verdicts allow to call it the best.

    Either it is better than the reference, or it is the reference and every arm compared with it is worse. If several
    are better than the reference, it must differ from each of them too, by the same test and adjusted by Holm. A row
    with runs that diverged is not called the best: its mean is that of the other runs.
    """
    means = [row.map50_95.mean for row in rows if row.map50_95.mean is not None]
    highest = [row for row in rows if means and row.map50_95.mean == max(means)]
    if len(highest) != 1 or highest[0].n_diverged:
        return None
    best = highest[0]
    compared = [row for row in rows if row.comparison.in_family]
    if best.comparison.verdict is Verdict.REFERENCE:
        return best if compared and {row.comparison.verdict for row in compared} == {Verdict.WORSE} else None
    if best.comparison.verdict is not Verdict.BETTER or not best.comparison.in_family:
        return None
    others = [row for row in compared if row.comparison.verdict is Verdict.BETTER and row is not best]
    pairs = [Pair(_map50_95(best.runs), _map50_95(other.runs), in_family=True) for other in others]
    p_values = [comparison.p_adjusted for comparison in compare(pairs)]
    return best if all(p is not None and p <= LEVEL for p in p_values) else None
