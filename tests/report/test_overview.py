"""The first screen of the page: the finding in a sentence, each arm's difference drawn, its cost beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from acmix_exp.report.overview import WIDTH, Overview
from acmix_exp.report.records import Cost, Row, Table
from acmix_exp.report.sentences import headline
from acmix_exp.report.statistics import Verdict
from tests.report import rows

REFERENCE = rows.row("baseline", 0.3, Verdict.REFERENCE)


def arm(name: str, verdict: Verdict, mean: float = 0.01, excludes: float | None = None, **options: Any) -> Row:
    delta = {"n": 8, "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "excludes": excludes}
    return replace(rows.row(name, 0.3, verdict, delta=delta, **options), reference=REFERENCE.runs)


def table(*arms: Row) -> Table:
    return rows.table([REFERENCE, *arms])


SAME, BETTER, FEW = Verdict.NO_DIFFERENCE, Verdict.BETTER, Verdict.TOO_FEW_SEEDS


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ([arm("a", SAME, mean=0.0, excludes=0.0)], "a does not differ significantly from baseline (8 paired seeds)."),
        (
            [arm("a", SAME, excludes=0.01), arm("b", SAME, excludes=0.02), arm("c", SAME, excludes=0.01)],
            "None of the 3 arms differs significantly from baseline (8 paired seeds); differences beyond ±0.020 "
            "mAP50-95 are excluded for each of them.",
        ),
        (
            [arm("a", SAME, excludes=0.01)],
            "a does not differ significantly from baseline (8 paired seeds); differences beyond ±0.010 mAP50-95 are "
            "excluded.",
        ),
        (
            [arm("a", SAME, excludes=0.01), arm("b", BETTER, 0.03)],
            "b (+0.030) is better than baseline; a does not differ significantly from baseline (8 paired seeds); "
            "differences beyond ±0.010 mAP50-95 are excluded for a.",
        ),
        (
            [*(arm(name, SAME) for name in "abcdef"), arm("g", Verdict.WORSE, -0.02), arm("h", Verdict.WORSE, -0.01)],
            "g (-0.020) and h (-0.010) are worse than baseline; the other 6 arms do not differ significantly from "
            "baseline (8 paired seeds).",
        ),
        (
            [arm("a", FEW, seeds_needed=6), arm("b", FEW, seeds_needed=6), arm("c", FEW, seeds_needed=6)],
            "All 3 arms have too few seeds to be called better or worse than baseline, which needs at least 6 "
            "(8 paired seeds).",
        ),
        (
            [arm("identity", Verdict.HARNESS_OK), arm("a", BETTER, 0.02)],
            "a (+0.020) is better than baseline (8 paired seeds).",
        ),
        ([arm("identity", Verdict.HARNESS_OK)], "Harness check passed: identity."),
        ([], "There is nothing to compare with: no pair of finished runs of an arm and its reference shares a seed."),
    ],
)
def test_the_finding_is_one_sentence(arms: list[Row], sentence: str) -> None:
    assert headline(table(*arms)) == sentence


def test_lines_of_all_arms_have_one_axis() -> None:
    overview = Overview(table(arm("a", SAME, -0.02), arm("identity", Verdict.HARNESS_OK), arm("b", BETTER, 0.03)))
    assert [row.label for row in overview.rows] == ["baseline", "a", "b"]
    low, high = overview.limits
    assert low < 0 < high
    assert overview.x(low) < overview.x(-0.02) < overview.x(0) < overview.x(0.03) < overview.x(high) < WIDTH
    assert "worse" in overview.axis()
    assert overview.axis().index("worse") < overview.axis().index("better")
    middle = re.findall(r'class="mean" cx="([\d.]+)"', overview.line(overview.rows[1]))
    assert middle == [str(overview.x(-0.02))]
    assert "Seeds 0: +0.010" in overview.line(overview.rows[1])


def test_an_interval_of_two_seeds_leaves_the_axis_with_an_arrow() -> None:
    wide = arm("a", FEW)
    found = replace(wide.comparison, low=-0.9, high=0.9, simultaneous_low=None, simultaneous_high=None)
    wide = replace(wide, comparison=found)
    overview = Overview(table(wide))
    assert max(map(abs, overview.limits)) < 0.05
    assert overview.line(wide).count('class="arrow"') == 2


@pytest.mark.parametrize("delta", [0.0, 1e-7, 3e-4, 0.04, 0.9])
def test_an_axis_of_any_length_has_ticks(delta: float) -> None:
    one = arm("a", SAME, delta)
    one = replace(one, comparison=replace(one.comparison, deltas={0: delta}, low=None, high=None))
    one = replace(one, comparison=replace(one.comparison, simultaneous_low=None, simultaneous_high=None))
    overview = Overview(table(one))
    assert 3 <= len(overview.ticks()) <= 12
    assert len(set(re.findall(r">([^<]*)</text>", overview.axis()))) == 2 + len(overview.ticks())


def test_costs_are_relative_to_the_reference() -> None:
    cost = Cost(parameters=6_022_866, gflops=8.08, latency_ms_b1=12.0)
    overview = Overview(table(arm("a", SAME, cost=cost)))
    found = [overview.ratio(overview.rows[1], column) for column in overview.costs()]
    assert found == ["", "×1.00", "×2.00"], "the reference has no latency"
    assert [overview.ratio(overview.rows[0], column) for column in overview.costs()] == ["", "", ""]


def test_of_many_rows_those_with_the_largest_differences_are_shown() -> None:
    overview = Overview(table(*(arm(f"arm{number}", SAME, number / 1000) for number in range(60))))
    assert [row.label for row in overview.rows] == [f"arm{number}" for number in range(20, 60)]
    assert overview.left_out == "Of 61 rows those with the largest differences."
