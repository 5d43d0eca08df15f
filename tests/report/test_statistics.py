"""Comparisons against values worked by hand, what few or missing seeds may not say, and simulated ablations."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from scipy import stats

from acmix_exp.report.sign_flips import floor
from acmix_exp.report.statistics import Comparison, Verdict, compare, compare_alone, compare_family, joint_members


def alone(deltas) -> Comparison:
    (found,) = compare_alone([dict(enumerate(deltas))])
    return found


def test_three_seeds_by_hand():
    # deltas 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653; of 8 sign flips 2 are as extreme
    found = compare({"baseline": {1: 1.0, 2: 2.0, 3: 3.0}, "mixed": {1: 2.0, 2: 4.0, 3: 6.0}})["mixed"]
    half = 4.302652729911275 / np.sqrt(3)
    assert (found.n, found.mean) == (3, pytest.approx(2.0))
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert found.p == found.p_adjusted == found.p_floor == pytest.approx(0.25)
    assert found.excludes == pytest.approx(2 + 2.919985580353726 / np.sqrt(3)), "t(0.95, 2)"
    assert (found.simultaneous_low, found.simultaneous_high) == (None, None), "no p can be below 5 %"
    assert (found.verdict, found.seeds_needed) == (Verdict.TOO_FEW_SEEDS, 6)


def test_equal_deltas_give_a_point():
    found = alone([0.25, 0.25])
    assert (found.low, found.high, found.excludes) == (0.25, 0.25, 0.25)


def test_undefined_values_are_none():
    assert alone([]) == Comparison()
    assert alone([0.25]) == Comparison({0: 0.25}, 1, 0.25)
    found = compare({"baseline": {0: 0.3}, "mixed": {0: 0.4}, "conv": {1: 0.4}})
    assert {one.verdict for one in found.values()} == {Verdict.TOO_FEW_SEEDS}
    assert (found["mixed"].mean, found["conv"].mean) == (pytest.approx(0.1), None)


def test_no_difference_at_all():
    values = {seed: 0.3 + seed / 100 for seed in range(6)}
    found = compare({"baseline": values, "same": values, "better": {seed: 0.4 + seed / 99 for seed in range(6)}})
    same = found["same"]
    assert (same.p, same.p_adjusted, same.verdict) == (1, 1, Verdict.NO_DIFFERENCE)
    assert (same.low, same.high, same.excludes) == (0, 0, 0)
    assert same.simultaneous_low <= 0 <= same.simultaneous_high
    assert found["better"].verdict is Verdict.BETTER


def test_a_family_of_one_is_the_plain_sign_flip_test():
    deltas = np.random.default_rng(0).normal(0.5, 1, 9)
    found = compare_family([dict(enumerate(deltas))])[0]
    assert found.p == found.p_adjusted
    assert compare({"baseline": {0: 0.3}}) == {}


def test_a_reference_margin_or_value_that_cannot_be_is_refused():
    values = {"baseline": {0: 0.3}, "mixed": {0: 0.4}}
    with pytest.raises(ValueError, match="reference=nobody: must be one of baseline, mixed"):
        compare(values, "nobody")
    with pytest.raises(ValueError, match="margin=0: must be above 0"):
        compare(values, margin=0)
    with pytest.raises(ValueError, match="values of mixed, seed 1: must be finite, got nan"):
        compare({**values, "mixed": {0: 0.4, 1: float("nan")}})


@pytest.mark.parametrize("n", range(2, 13))
def test_the_sign_flip_p_counts_every_sign(n):
    random = np.random.default_rng(n)
    for deltas in (random.normal(size=n), random.integers(-3, 4, n) / 10, random.normal(1, 1, n)):
        sums = np.array(list(product((-1, 1), repeat=n))) @ deltas
        literal = np.mean(np.abs(sums) >= abs(deltas.sum()) - 1e-12)
        assert alone(deltas).p == pytest.approx(literal)


@pytest.mark.parametrize("n", [4, 8, 12])
def test_an_arm_alone_equals_scipy(n):
    deltas = np.random.default_rng(n).normal(0.4, 0.5, n)
    found = alone(deltas)
    tested = stats.ttest_1samp(deltas, 0)
    interval = tested.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    permuted = stats.permutation_test(
        (deltas,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert found.p == pytest.approx(permuted.pvalue)
    # The smallest margin at which both one-sided tests of equivalence reach 5 %.
    for side in ("less", "greater"):
        against = found.excludes if side == "less" else -found.excludes
        assert stats.ttest_1samp(deltas, against, alternative=side).pvalue <= 0.05 + 1e-9
    shifted = np.sign(deltas.mean()) * found.excludes * 0.999
    assert stats.ttest_1samp(deltas, shifted, alternative="less" if shifted > 0 else "greater").pvalue > 0.05


def test_sums_that_differ_by_rounding_are_equal():
    """0.1 + 0.2 is not 0.3 in floats: as deltas of 3, 2 and 1 tenths they must be."""
    assert alone([0.3, -0.2, -0.1]).p == 1.0
    assert alone([0.3, 0.2, 0.1]).p == pytest.approx(0.25)
    assert alone([0.30000000000000004, 0.1, -0.2]).p == alone([0.3, 0.1, -0.2]).p


def table(deltas, missing=()):
    """Values of arms a0, a1, ... with these deltas, ``[n, k]``, to a baseline; without the (arm, seed) of missing."""
    n, arms = np.shape(deltas)
    values = {"baseline": dict.fromkeys(range(n), 0.4)}
    for arm in range(arms):
        kept = [seed for seed in range(n) if (f"a{arm}", seed) not in missing]
        values[f"a{arm}"] = {seed: 0.4 + deltas[seed][arm] for seed in kept}
    return values


def test_equivalence_needs_a_margin():
    deltas = np.random.default_rng(1).normal(0, 0.004, (8, 3))
    found = compare(table(deltas))
    assert {one.verdict for one in found.values()} == {Verdict.NO_DIFFERENCE}
    assert all(one.excludes < 0.01 for one in found.values())
    assert {one.verdict for one in compare(table(deltas), margin=0.01).values()} == {Verdict.EQUIVALENT}
    narrow = compare(table(deltas), margin=0.003)
    assert all((one.verdict is Verdict.EQUIVALENT) == (one.excludes <= 0.003) for one in narrow.values())


def test_a_difference_within_the_margin_is_equivalent_though_it_is_one():
    deltas = np.random.default_rng(1).normal(0.004, 0.001, (8, 1))
    assert compare(table(deltas))["a0"].verdict is Verdict.BETTER
    found = compare(table(deltas), margin=0.01)["a0"]
    assert (found.verdict, found.margin) == (Verdict.EQUIVALENT, 0.01)
    assert found.simultaneous_low > 0


@pytest.mark.parametrize(("n", "verdict"), [(2, "too_few_seeds"), (5, "too_few_seeds"), (6, "equivalent")])
def test_few_equal_deltas_show_no_equivalence(n, verdict):
    assert compare(table(np.zeros((n, 1))), margin=0.01)["a0"].verdict == verdict


def test_the_joint_test_uses_the_seeds_in_common():
    deltas = np.random.default_rng(0).normal(0.01, 0.01, (9, 3))
    found = compare(table(deltas, missing={("a0", 1), ("a2", 7)}))
    assert [one.n for one in found.values()] == [8, 9, 8]
    assert {tuple(one.joint_seeds) for one in found.values()} == {(0, 2, 3, 4, 5, 6, 8)}
    assert {one.p_floor for one in found.values()} == {floor(7)}
    complete = compare(table(np.delete(deltas, [1, 7], 0)))
    assert [one.p_adjusted for one in found.values()] == [one.p_adjusted for one in complete.values()]
    assert found["a1"].mean == pytest.approx(deltas[:, 1].mean()), "of its own nine seeds"


@pytest.mark.parametrize("few", [0, 1, 3, 5])
def test_an_arm_with_too_few_seeds_does_not_hold_up_the_others(few):
    deltas = np.random.default_rng(0).normal(0.03, 0.01, (8, 3))
    found = compare(table(deltas, missing={("a1", seed) for seed in range(few, 8)}))
    assert [one.verdict for one in found.values()] == [Verdict.BETTER, Verdict.TOO_FEW_SEEDS, Verdict.BETTER]
    assert found["a0"].p_adjusted == compare(table(deltas[:, [0, 2]]))["a0"].p_adjusted
    assert found["a1"].joint_seeds == ()
    assert found["a1"].p_adjusted is None


def test_who_is_in_the_joint_test():
    assert joint_members([]) == ([], [])
    assert joint_members([set(), {1, 2}]) == ([1], [1, 2])
    assert joint_members([{0, 1, 2}, {1, 2, 3}]) == ([0, 1], [1, 2])
    assert joint_members([{0, 1, 2}, {5}]) == ([0], [0, 1, 2])
    assert joint_members([set(range(8)), set(range(8)), set(range(8, 16))]) == ([0, 1], list(range(8)))
    assert joint_members([set(range(8)), set(range(2, 10))]) == ([0, 1], list(range(2, 8)))
    members, seeds = joint_members([set(range(8)), set(range(3, 11))])
    assert (len(members), len(seeds)) == (1, 8), "five in common are too few"


def simulate(times, arms, n, effect=0.0, correlation=0.5, margin=None):
    """Comparisons of simulated tables, in standard deviations of the deltas; the first arm truly differs by effect."""
    random = np.random.default_rng(20261123)
    for _ in range(times):
        common, own = random.normal(size=(n, 1)), random.normal(size=(n, arms))
        deltas = correlation**0.5 * common + (1 - correlation) ** 0.5 * own
        deltas[:, 0] += effect
        yield list(compare(table(deltas), margin=margin).values())


@pytest.mark.parametrize("times", [200, pytest.param(2000, marks=pytest.mark.slow)], ids=["200-tables", "2000-tables"])
@pytest.mark.parametrize(("n", "arms"), [(6, 4), (8, 11)])
def test_null_ablations_claim_something_at_most_once_in_twenty(times, n, arms):
    found = list(simulate(times, arms, n))
    claims = np.mean([any(one.verdict in ("better", "worse") for one in family) for family in found])
    assert claims <= 0.05 + 2 * (0.05 * 0.95 / times) ** 0.5
    covered = np.mean([[one.low <= 0 <= one.high for one in family] for family in found])
    assert covered == pytest.approx(0.95, abs=0.03)
    together = np.mean([all(one.simultaneous_low <= 0 <= one.simultaneous_high for one in family) for family in found])
    assert together == pytest.approx(1 - claims)


@pytest.mark.parametrize(
    ("n", "arms"), [(6, 11), pytest.param(6, 4, marks=pytest.mark.slow), pytest.param(8, 4, marks=pytest.mark.slow)]
)
def test_an_effect_of_two_and_a_half_standard_deviations_of_the_deltas_is_found(n, arms):
    found = list(simulate(300, arms, n, effect=2.5))
    assert np.mean([family[0].verdict == "better" for family in found]) >= 0.9
    assert np.mean([any(one.verdict in ("better", "worse") for one in family[1:]) for family in found]) <= 0.06
    covered = np.mean([family[0].simultaneous_low <= 2.5 <= family[0].simultaneous_high for family in found])
    assert covered >= 0.95


def test_equivalence_is_claimed_falsely_at_most_once_in_twenty():
    """The true difference is the margin itself."""
    found = list(simulate(1000, 1, 8, effect=1.0, margin=1.0))
    assert np.mean([family[0].verdict == "equivalent" for family in found]) <= 0.05 + 0.014


def test_twelve_arms_and_sixteen_seeds_take_no_time():
    values = table(np.random.default_rng(0).normal(0, 0.01, (16, 12)))
    compare(values)
    began = time.process_time()
    compare(values, margin=0.01)
    assert time.process_time() - began < 1


def test_very_many_seeds_and_comparisons_have_a_verdict():
    rng = np.random.default_rng(0)
    deltas = {seed: 0.05 + rng.normal(0, 0.001) for seed in range(20)}
    found = compare_family([deltas] * 60)
    assert {one.verdict for one in found} == {Verdict.BETTER}
    assert found[0].p == found[0].p_floor == floor(20)
