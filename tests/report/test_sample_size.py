"""Power: the table is what its script simulates, and an independent simulation of the tool's test agrees with it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acmix_exp.report import sign_flips
from acmix_exp.report.sample_size import (
    POWER,
    detectable,
    family_sd,
    pooled,
    seeds_for,
    standard_deviation,
    upper_limit,
)
from scripts import sample_size
from tests.report.builders import summary


def power(difference, n, family, draws, *, sd=1.0, sds=None, correlation=0.0):
    """The share of simulated studies in which the joint test finds the first arm, which truly differs."""
    rng = np.random.default_rng([20_260_101, n, family])
    own, shared = rng.standard_normal((draws, n, family)), rng.standard_normal((draws, n, 1))
    deltas = ((1 - correlation) ** 0.5 * own + correlation**0.5 * shared) * (sd if sds is None else np.array(sds))
    deltas[:, :, 0] += difference
    found = sign_flips.joint_p(deltas)[:, 0] <= sign_flips.LEVEL
    return float((found & (deltas[:, :, 0].mean(1) > 0)).mean())


@pytest.mark.parametrize(("n", "family"), [(6, 1), (6, 12), (8, 4), (11, 3)])
def test_the_table_is_what_its_script_simulates(n, family):
    lines = [line.split(",") for line in sample_size.PATH.read_text().splitlines()]
    (stored,) = [line[2:] for line in lines if line[:2] == [str(n), str(family)]]
    made = sample_size.line(n, family)[2:]
    assert [*map(float, made)] == pytest.approx([*map(float, stored)], abs=2e-3)


def test_the_table_has_every_line():
    lines = sample_size.PATH.read_text().splitlines()
    cells = [f"{n},{family}" for n in sample_size.SEEDS for family in sample_size.FAMILIES]
    assert [line.rsplit(",", 2)[0] for line in lines] == ["seeds,family", *cells]


@pytest.mark.parametrize(("n", "family"), [(6, 1), (6, 11), (8, 4), (10, 3)])
def test_the_simulation_decides_as_the_tool_does(n, family):
    deltas = np.random.default_rng(7).standard_normal((200, n, family))
    least = sample_size.smallest_found(deltas, sample_size._signs(n, np.random.default_rng(0)))
    for factor, found in ((1.01, True), (0.99, False)):
        moved = deltas.copy()
        moved[:, :, 0] += factor * least[:, None]
        assert ((sign_flips.joint_p(moved)[:, 0] <= sign_flips.LEVEL) == found).mean() > 0.97  # seldom not monotone


def test_what_is_detectable_is_found_four_times_in_five():
    for n, family in ((6, 11), (8, 4), (10, 1)):
        assert power(0.01 * detectable(1.0, n, family), n, family, 3000, sd=0.01) == pytest.approx(POWER, abs=0.03)


def test_six_seeds_find_a_difference_of_two_and_a_half_sd_over_eleven_arms():
    assert power(2.5, 6, 11, 2000) >= 0.9
    assert detectable(1.0, 6, 11, power=0.9) < 2.5


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_planned_seeds_have_the_power_asked_for(level):
    """Seeds are whole: one fewer has at most that power."""
    for effect, family in ((1.6, 3), (1.2, 6)):
        n = seeds_for(effect, 1.0, family, level)
        assert power(effect, n, family, 2000) >= level - 0.03
        assert n == 6 or power(effect, n - 1, family, 2000) <= level + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize(("effect", "family"), [(2.0, 1), (1.4, 4), (1.0, 3), (1.0, 11), (0.7, 4)])
def test_the_planned_seeds_have_the_power_asked_for_by_a_larger_simulation(effect, family, correlation):
    for level in (0.8, 0.9):
        n = seeds_for(effect, 1.0, family, level)
        draws = 4000 if n <= 13 else 1500
        assert power(effect, n, family, draws, correlation=correlation) >= level - 0.03
        assert n == 6 or power(effect, n - 1, family, draws, correlation=correlation) <= level + 0.03
        assert power(detectable(1.0, n, family, level), n, family, draws, correlation=correlation) == pytest.approx(
            level, abs=0.03
        )


@pytest.mark.slow
def test_an_arm_that_is_quieter_or_louder_than_its_family_is_not_promised_too_much():
    for n, family in ((6, 4), (8, 4), (8, 11), (12, 5)):
        for sd in (0.25, 0.5, 2.0, 4.0):
            sds = [sd, *[1.0] * (family - 1)]
            found = power(detectable(sd, n, family, family_sd=1.0), n, family, 3000, sds=sds)
            assert 0.75 < found < 0.96


def test_more_seeds_find_less_and_more_comparisons_need_more():
    by_seeds = [detectable(1.0, n, 4) for n in (6, 7, 8, 10, 18, 40, 100, 1000)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    by_family = [detectable(1.0, 12, family) for family in (1, 2, 5, 9, 20, 50, 100, 1000)]
    assert by_family == sorted(by_family)
    assert detectable(0.02, 9, 4) == pytest.approx(0.02 * detectable(1.0, 9, 4))


def test_fewer_than_six_seeds_detect_nothing():
    assert detectable(0.01, 5, 1) is None
    assert seeds_for(10.0, 0.001, 4) == 6


@pytest.mark.parametrize("effect", [0.003, 0.005, 0.01, 0.015, 0.02])
def test_the_planned_seeds_are_the_fewest(effect):
    n = seeds_for(effect, 0.0141, 4)
    assert detectable(0.0141, n, 4) <= effect
    assert n == 6 or detectable(0.0141, n - 1, 4) > effect


def test_the_upper_limit_is_that_of_chi_square():
    """20 % quantiles of chi-square with 7 and 5 degrees of freedom: 3.822 and 2.343."""
    assert upper_limit(0.0141, 8) == pytest.approx(0.0141 * math.sqrt(7 / 3.822), rel=1e-3)
    assert upper_limit(1.0, 6) == pytest.approx(math.sqrt(5 / 2.343), rel=1e-3)
    assert upper_limit(1.0, 1) is None


def test_standard_deviations_of_arms():
    assert standard_deviation([0.1]) is None
    assert pooled([[0.0, 2.0], [0.0, 4.0], [9.0]]) == pytest.approx(5**0.5)
    assert family_sd([[0.0, 2.0], [0.0, 4.0], [0.0, 20.0], [9.0]]) == pytest.approx(8**0.5)
    assert (pooled([[1.0]]), family_sd([])) == (None, None)


def test_a_table_says_what_was_detectable_and_the_seeds_for_smaller_differences(folder, add):
    """Deltas of 0.01 and 0.03 in turn: sd 0.0107 over eight seeds."""
    for seed in range(8):
        add("baseline", seed, 0.3)
        add("mixed", seed, 0.31 + 0.02 * (seed % 2))
    (table,) = summary(folder)
    sd = 0.01 * math.sqrt(8 / 7)
    mixed = next(row for row in table["rows"] if row["arm"] == "mixed")
    assert mixed["detectable"] == pytest.approx(detectable(sd, 8, 1))
    seeds = [seeds_for(effect, sd, 1) for effect in (0.005, 0.01, 0.02)]
    need = "At this spread true differences of 0.005, 0.01 and 0.02 need {}, {} and {} seeds to be found".format(*seeds)
    assert f"{need} with 80 % probability." in table["notes"]


def test_equal_deltas_have_no_spread_to_plan_with(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3)
        add("mixed", seed, 0.31)
    (table,) = summary(folder)
    assert not any("At this spread" in note for note in table["notes"])
    assert [row["detectable"] for row in table["rows"]] == [None, None]
