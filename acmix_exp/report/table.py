"""The tables of a folder: one row per arm and combination of swept values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.config import IDENTITY
from acmix_exp.report.comparison_families import Family, Pair, alone, headlines, in_family, of_groups, reference_row
from acmix_exp.report.family_notes import family_notes
from acmix_exp.report.grouping import heading
from acmix_exp.report.harness import check_harness, harness_verdict, is_harness_check
from acmix_exp.report.image_intervals import image_intervals
from acmix_exp.report.notes import notes, of_networks
from acmix_exp.report.planned import DEFAULT, Asked, reference_note
from acmix_exp.report.population import guarded
from acmix_exp.report.read_runs import collect
from acmix_exp.report.records import ArmRuns, Contrast, Cost, Group, Interval, Row, Spread, Table
from acmix_exp.report.row_costs import fps_note, read_profile, row_costs
from acmix_exp.report.statistics import Comparison, Verdict, compare_alone, compare_family, differences


def make_tables(folder: Path, asked: Asked = DEFAULT) -> list[Table]:
    """All tables of a folder of runs."""
    groups, left_out = collect(folder)
    profile = read_profile(folder)
    of_tables, between = of_groups(groups, asked)
    tables = [
        _table(number, group, asked, family, pairs, profile)
        for number, (group, family, pairs) in enumerate(zip(groups, of_tables, between, strict=True), 1)
    ]
    records = [record for group in groups for row in group.rows for record in row.all_records]
    first = [note for note in (reference_note(folder, asked, records),) if note]
    return [replace(table, notes=[*first, *table.notes, *left_out]) for table in tables[:1]] + tables[1:]


def _table(
    number: int, group: Group, asked: Asked, family: Family, between: Sequence[Pair], profile: dict[str, Any]
) -> Table:
    pairs = [(row, reference_row(group, row, asked.reference)) for row in group.rows]
    costs, cost_notes = row_costs(group.rows, asked.reference, profile)
    images, image_notes = image_intervals(pairs)
    stock = next((row for row in group.rows if row.block is None), None)
    judged = [
        _row(row, other, _judged(row, other, asked.reference, family, stock), interval, cost)
        for (row, other), interval, cost in zip(pairs, images, costs, strict=True)
    ]
    rows, seeds_alone = guarded(judged)
    contrasts, _ = guarded([Contrast(*pair, family.comparison(pair)) for pair in between])
    return Table(
        heading=heading(group.settings),
        settings=group.settings,
        swept_keys=group.swept_keys,
        reference=asked.reference,
        family=len(family.comparisons),
        rows=rows,
        notes=[
            *family_notes(family, number, asked.reference),
            *notes(group, rows, asked.reference),
            *of_networks([*between, *((row, other) for row, other in pairs if other)]),
            *seeds_alone,
            *image_notes,
            *cost_notes,
            *([fps_note(group.rows, costs)] if "FPS" in asked.columns else []),
        ],
        margin=family.margin,
        pairs=contrasts,
        columns=asked.columns,
    )


def _judged(row: ArmRuns, other: ArmRuns | None, reference: str, family: Family, stock: ArmRuns | None) -> Comparison:
    """The comparison of a row. Where it checks the harness it has the verdict of that.

    stock: the row of the stock network, which identity is checked against whatever the reference is.
    """
    if other is not None and in_family(row, other):
        return family.comparison((row, other))
    comparison = alone(row, other)
    if row.arm == reference:
        return replace(comparison, verdict=Verdict.REFERENCE)
    if other is not None and is_harness_check(row, other):
        return replace(comparison, verdict=harness_verdict(check_harness(row, other), comparison))
    if row.block == IDENTITY:
        verdict = harness_verdict(check_harness(row, stock), alone(row, stock)) if stock else None
        return replace(comparison, verdict=verdict)
    return comparison


def _row(runs: ArmRuns, other: ArmRuns | None, comparison: Comparison, images: Interval, cost: Cost) -> Row:
    names = ("map50_95", "map50", "precision", "recall", "val_last", "val_best", "nms", "nms_free", "top1", "top5")
    spreads: dict[str, Any] = {
        name: Spread.of(getattr(record.result, name) for record in runs.records) for name in names
    }
    found = Row(runs=runs, reference=other, **spreads, comparison=comparison, images=images, cost=cost)
    return replace(found, other_head=_other_head(runs, other)) if other else found


def _other_head(runs: ArmRuns, other: ArmRuns) -> Comparison:
    """The same comparison by the head that is not the headline, by itself: it is in no family."""
    scores = [
        {
            seed: value
            for seed, record in row.runs.items()
            if record.result and (value := record.result.other_head) is not None
        }
        for row in (runs, other)
    ]
    return compare_alone([differences(*scores)])[0]


def best_row(rows: Sequence[Row]) -> Row | None:
    """The row with the highest mean, if the verdicts allow to call it the best.

    Either it is better than the reference, or it is the reference and every arm compared with it is worse. If several
    are better than the reference, it must be better than each of them too, by the same rules. A row with runs that
    diverged is not called the best: its mean is that of the other runs.
    """
    means = [row.headline.mean for row in rows if row.headline.mean is not None]
    highest = [row for row in rows if means and row.headline.mean == max(means)]
    if len(highest) != 1 or highest[0].n_diverged or any(row.comparison.verdict is Verdict.INTERIM for row in rows):
        return None
    best = highest[0]
    compared = [row for row in rows if row.comparison.in_family]
    if best.comparison.verdict is Verdict.REFERENCE:
        return best if compared and {row.comparison.verdict for row in compared} == {Verdict.WORSE} else None
    if best.comparison.verdict is not Verdict.BETTER or not best.comparison.in_family:
        return None
    others = [row for row in compared if row.comparison.verdict is Verdict.BETTER and row is not best]
    tested = compare_family([differences(headlines(best.runs), headlines(other.runs)) for other in others])
    contrasts, _ = guarded(
        [Contrast(best.runs, other.runs, found) for other, found in zip(others, tested, strict=True)]
    )
    return best if all(contrast.comparison.verdict is Verdict.BETTER for contrast in contrasts) else None
