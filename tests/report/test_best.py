"""What may be called the best of a table."""

from __future__ import annotations

from typing import Any

import pytest

from acmix_exp.report.statistics import best_row

NOISE = (0.003, -0.002, 0.001, -0.003, 0.002, -0.001, 0.004, -0.004)


def row(arm: str, mean: float | None, verdict: str | None, spread: float = 0.0) -> dict[str, Any]:
    values = [{"seed": seed, "map50_95": (mean or 0) + spread * noise} for seed, noise in enumerate(NOISE)]
    compared = verdict not in ("reference", None)
    return {"arm": arm, "map50_95_mean": mean, "verdict": verdict, "in_family": compared, "values": values}


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([("baseline", 0.3, "reference"), ("a", 0.4, "better"), ("b", 0.35, "better")], 1),
        ([("baseline", 0.3, "reference"), ("a", 0.4, "no difference shown")], None),
        ([("baseline", 0.3, "reference"), ("a", 0.4, "n too small to tell (6 seeds would do)")], None),
        ([("baseline", 0.3, "reference"), ("a", 0.35, "better"), ("b", 0.4, "no difference shown")], None),
        ([("baseline", 0.5, "reference"), ("a", 0.4, "worse"), ("b", 0.3, "worse")], 0),
        ([("baseline", 0.5, "reference"), ("a", 0.4, "worse"), ("b", 0.3, "no difference shown")], None),
        ([("baseline", 0.5, "reference")], None),
        ([("baseline", None, "reference"), ("a", None, None)], None),
    ],
)
def test_only_where_the_verdicts_allow_it(rows: list[tuple[str, float | None, str]], best: int | None) -> None:
    assert best_row([row(*values) for values in rows]) == best


def test_of_two_that_are_better_the_first_must_differ_from_the_second() -> None:
    reference, first = row("baseline", 0.3, "reference"), row("a", 0.4, "better")
    assert best_row([reference, first, row("b", 0.399, "better", spread=1)]) is None
    assert best_row([reference, first, row("b", 0.390, "better", spread=1)]) == 1
    other = row("b", 0.390, "better", spread=1)
    assert best_row([reference, first, {**other, "values": other["values"][:3]}]) is None
    seven = [row(f"b{number}", 0.390, "better", spread=1) for number in range(7)]
    assert best_row([reference, first, *seven]) is None  # 7 comparisons of 8 seeds: Holm's floor is above 5 %
