"""What may be called the best of a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acmix_exp.report.records import ArmRuns, Row
from acmix_exp.report.statistics import Verdict
from acmix_exp.report.table import best_row
from tests.report import rows

NOISE = (0.003, -0.002, 0.001, -0.003, 0.002, -0.001, 0.004, -0.004)
REFERENCE, BETTER, WORSE = Verdict.REFERENCE, Verdict.BETTER, Verdict.WORSE
NO_DIFFERENCE, TOO_FEW_SEEDS = Verdict.NO_DIFFERENCE, Verdict.TOO_FEW_SEEDS


def row(arm: str, mean: float | None, verdict: Verdict | None, spread: float = 0.0) -> Row:
    return rows.row(arm, mean, verdict, maps=[(mean or 0) + spread * noise for noise in NOISE])


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([("baseline", 0.3, REFERENCE), ("a", 0.4, BETTER), ("b", 0.35, BETTER)], "a"),
        ([("baseline", 0.3, REFERENCE), ("a", 0.4, NO_DIFFERENCE)], None),
        ([("baseline", 0.3, REFERENCE), ("a", 0.4, TOO_FEW_SEEDS)], None),
        ([("baseline", 0.3, REFERENCE), ("a", 0.35, BETTER), ("b", 0.4, NO_DIFFERENCE)], None),
        ([("baseline", 0.5, REFERENCE), ("a", 0.4, WORSE), ("b", 0.3, WORSE)], "baseline"),
        ([("baseline", 0.5, REFERENCE), ("a", 0.4, WORSE), ("b", 0.3, NO_DIFFERENCE)], None),
        ([("baseline", 0.5, REFERENCE)], None),
        ([("baseline", None, REFERENCE), ("a", None, None)], None),
    ],
)
def test_only_if_the_verdicts_allow_it(values: list[tuple[str, float | None, Verdict]], best: str | None) -> None:
    found = best_row([row(*value) for value in values])
    assert (found and found.arm) == best


def test_the_best_of_two_better_arms_must_differ_from_the_other() -> None:
    reference, first = row("baseline", 0.3, REFERENCE), row("a", 0.4, BETTER)
    assert best_row([reference, first, row("b", 0.399, BETTER, spread=1)]) is None
    assert best_row([reference, first, row("b", 0.390, BETTER, spread=1)]) is first
    other = row("b", 0.390, BETTER, spread=1)
    three_seeds = {seed: other.runs.runs[seed] for seed in range(3)}
    assert best_row([reference, first, replace(other, runs=ArmRuns("b", {}, three_seeds))]) is None
    seven = [row(f"b{number}", 0.390, BETTER, spread=1) for number in range(7)]
    assert best_row([reference, first, *seven]) is first, "8 seeds are enough, whatever the number of comparisons"
