"""The joint sign-flip test against literal counting, at its edges and in simulated null tables."""

import time
from itertools import product

import numpy as np
import pytest

from acmix_exp.report import sign_flips
from acmix_exp.report.sign_flips import (
    critical_value,
    floor,
    joint_p,
    seeds_needed,
    sign_vectors,
    simultaneous_intervals,
    statistic,
)

NULLS = ("normal", "t3", "lognormal", "ties", "loud", "quiet")


def literal_p(deltas):
    """Over all 2**n vectors, arm by arm, in loops."""
    n, arms = deltas.shape
    s = [np.sqrt(np.mean(deltas[:, arm] ** 2)) for arm in range(arms)]
    scale = [s[arm] + np.median(s) for arm in range(arms)]

    def of(signs):
        means = [abs(np.mean(signs * deltas[:, arm])) for arm in range(arms)]
        return [mean / divisor if divisor else 0.0 for mean, divisor in zip(means, scale, strict=True)]

    seen = of(np.ones(n))
    largest = np.array([max(of(np.array(signs))) for signs in product((1, -1), repeat=n)])
    return [float(np.mean(largest >= value - 1e-9)) for value in seen]


@pytest.mark.parametrize(("n", "arms"), [(1, 1), (2, 3), (5, 1), (6, 2), (7, 4)])
def test_p_counts_every_sign_vector(n, arms):
    random = np.random.default_rng(n)
    for deltas in (random.normal(size=(n, arms)), random.integers(-2, 3, (n, arms)) / 10):
        deltas[:, 0] += 1
        assert joint_p(deltas) == pytest.approx(literal_p(deltas))


@pytest.mark.parametrize(("n", "arms", "level"), [(6, 3, 0.05), (8, 1, 0.05), (8, 4, 0.2), (7, 2, 0.5)])
def test_an_interval_holds_the_differences_that_the_test_does_not_reject(n, arms, level):
    """Each shift is tested literally: the arm's deltas less the shift, the median of s and the other arms as seen."""
    deltas = np.random.default_rng(n).normal(0.5, 1, (n, arms))
    low, high = simultaneous_intervals(deltas, level)
    signs = np.array(list(product((1, -1), repeat=n)))
    s = np.sqrt((deltas**2).mean(0))
    median = np.median(s)
    for arm in range(arms):
        largest = np.abs(signs @ deltas / n) / (s + median)
        largest = np.delete(largest, arm, 1).max(1, initial=0)
        for shift in np.linspace(low[arm] - 1, high[arm] + 1, 201):
            shifted = deltas[:, arm] - shift
            own = np.abs(signs @ shifted / n) / (np.sqrt(np.mean(shifted**2)) + median)
            p = np.mean(np.maximum(own, largest) >= own[0] - 1e-12)
            assert (p > level) == (low[arm] <= shift <= high[arm])


@pytest.mark.parametrize("n", [3, 6, 8, 20])
def test_an_interval_excludes_zero_exactly_if_p_is_at_most_the_level(n):
    random = np.random.default_rng(n)
    tables = 300 if n < 20 else 6
    deltas = random.normal(size=(tables, n, 3)) + random.choice([0, 0.8, 1.5], (tables, 1, 3))
    deltas[::3] = np.round(deltas[::3])
    p = joint_p(deltas)
    for level in (0.01, 0.03125, 0.05, 0.3):
        low, high = simultaneous_intervals(deltas, level)
        assert np.array_equal(p <= level, (low > 0) | (high < 0))
        assert np.array_equal(p <= level, statistic(deltas) > critical_value(deltas, level)[:, None] + 1e-9)
        mean = deltas.mean(1)
        assert ((low <= mean + 1e-12) & (mean - 1e-12 <= high)).all()


def test_the_smallest_p_does_not_depend_on_the_number_of_arms():
    assert (floor(1), floor(5), floor(6), floor(0)) == (1, 0.0625, 0.03125, 1)
    assert seeds_needed() == 6
    assert seeds_needed(0.01) == 8
    for arms in (1, 11):
        assert joint_p(np.full((6, arms), 0.01)) == pytest.approx([floor(6)] * arms)


def test_few_seeds_claim_nothing():
    for n in range(1, 6):
        deltas = np.full((n, 2), 0.1)
        assert joint_p(deltas) == pytest.approx([floor(n)] * 2)
        low, high = simultaneous_intervals(deltas)
        assert np.isneginf(low).all()
        assert np.isposinf(high).all()


def test_deltas_without_spread():
    equal = np.full((6, 3), 0.1)
    low, high = simultaneous_intervals(equal)
    assert low[0] > 0
    assert low[0] <= 0.1 <= high[0]
    zero = np.zeros((6, 3))
    assert joint_p(zero).tolist() == [1, 1, 1]
    assert statistic(zero).tolist() == [0, 0, 0]
    low, high = simultaneous_intervals(zero)
    assert (low.tolist(), high.tolist()) == ([0, 0, 0], [0, 0, 0])
    alone = np.hstack([zero, np.random.default_rng(0).normal(5, 1, (6, 1))])
    assert joint_p(alone).tolist() == [1, 1, 1, floor(6)], "an arm with spread beside arms that equal the reference"


def test_equal_sums_tie_whatever_the_rounding():
    deltas = np.array([[0.1], [0.2], [0.3], [-0.1], [-0.2], [-0.3]])
    low, high = simultaneous_intervals(deltas)
    assert joint_p(deltas)[0] == 1
    assert low[0] <= 0 <= high[0]


def test_above_sixteen_seeds_the_vectors_are_drawn_and_fixed():
    assert sign_vectors(16).shape == (2**15, 16)
    assert sign_vectors(17).shape == (2**15, 17)
    assert (sign_vectors(30)[0] == 1).all()
    deltas = np.random.default_rng(0).normal(0.3, 1, (30, 4))
    first = joint_p(deltas)
    sign_vectors.cache_clear()
    assert np.array_equal(first, joint_p(deltas))
    assert joint_p(np.ones((30, 1)))[0] == pytest.approx(floor(30))


@pytest.mark.parametrize("deltas", [np.zeros(3), np.zeros((0, 2)), np.zeros((3, 0)), np.full((6, 1), np.nan)])
def test_what_is_no_table_of_deltas_is_refused(deltas):
    with pytest.raises(ValueError, match="deltas must be"):
        joint_p(deltas)


def test_many_tables_are_worked_through_in_parts():
    deltas = np.random.default_rng(0).normal(0.5, 1, (70, 8, 3))
    whole = joint_p(deltas), *simultaneous_intervals(deltas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sign_flips, "BATCH", 20 * 2**7)
        parts = joint_p(deltas), *simultaneous_intervals(deltas)
    assert all(np.allclose(first, second) for first, second in zip(whole, parts, strict=True))


def test_leading_axes_are_kept():
    deltas = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    assert joint_p(deltas).shape == (2, 5, 3)
    assert critical_value(deltas).shape == (2, 5)
    assert np.array_equal(joint_p(deltas)[1, 3], joint_p(deltas[1, 3]))
    assert joint_p(np.zeros((0, 6, 3))).shape == (0, 3)


def null_tables(kind, tables, n, arms):
    """Deltas to a shared baseline without true differences."""
    random = np.random.default_rng(20261123)

    def noise(count):
        size = (tables, n, count)
        if kind == "t3":
            return random.standard_t(3, size)
        if kind == "lognormal":
            return random.lognormal(0, 0.5, size)
        values = random.normal(size=size)
        return np.round(values) if kind == "ties" else values

    baseline, others = noise(1), noise(arms)
    if kind == "loud":
        others[..., 0] *= 10
    if kind == "quiet":
        baseline, others[..., 1:] = baseline / 10, others[..., 1:] / 10
    return others - baseline


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize(("n", "arms"), [(6, 4), (6, 11), (8, 4), (8, 11)])
def test_at_most_one_null_table_in_twenty_claims_anything(kind, n, arms):
    """2,000 tables; a true rate of 0.05 shows at most 0.06 in 97.5 % of such simulations."""
    deltas = null_tables(kind, 2000, n, arms)
    p = joint_p(deltas)
    assert (p <= 0.05).any(1).mean() <= 0.06
    low, high = simultaneous_intervals(deltas)
    assert ((low <= 0) & (high >= 0)).all(1).mean() >= 0.94


@pytest.mark.parametrize("true", [1, 6], ids=["one-true", "six-true"])
def test_true_effects_cost_the_other_arms_nothing(true):
    deltas = null_tables("normal", 2000, 8, 11)
    effect = np.array([4.0] * true + [0.0] * (11 - true))
    p = joint_p(deltas + effect)
    assert (p[:, true:] <= 0.05).any(1).mean() <= 0.05
    low, high = simultaneous_intervals(deltas + effect)
    assert ((low <= effect) & (effect <= high)).all(1).mean() >= 0.95


@pytest.mark.parametrize("correlation", [0, 0.5, 0.8])
@pytest.mark.parametrize("arms", [1, 4, 11])
def test_six_seeds_find_two_and_a_half_standard_deviations_of_the_deltas(arms, correlation):
    random = np.random.default_rng(0)
    common, own = random.normal(size=(2000, 6, 1)), random.normal(size=(2000, 6, arms))
    deltas = correlation**0.5 * common + (1 - correlation) ** 0.5 * own
    deltas[..., 0] += 2.5
    assert (joint_p(deltas)[:, 0] <= 0.05).mean() >= 0.94


def test_twelve_arms_and_sixteen_seeds_take_no_time():
    deltas = np.random.default_rng(0).normal(size=(16, 12))
    began = time.process_time()
    joint_p(deltas)
    simultaneous_intervals(deltas)
    assert time.process_time() - began < 1
