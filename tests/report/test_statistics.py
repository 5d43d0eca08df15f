"""Against values worked by hand, and what few seeds may not say."""

import time
from itertools import product

import numpy as np
import pytest
from scipy import stats

from acmix_exp.report import statistics
from acmix_exp.report.statistics import Delta, Verdict, floor, holm, seeds_needed, summarize, verdict


def paired(values, reference) -> Delta:
    return summarize(np.subtract(values, reference))


def test_three_seeds_by_hand():
    # deltas 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653; of 8 sign flips 2 are as extreme
    delta = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    half = 4.302652729911275 / np.sqrt(3)
    assert delta.n == 3
    assert delta.mean == pytest.approx(2.0)
    assert (delta.low, delta.high) == pytest.approx((2 - half, 2 + half))
    assert delta.p == pytest.approx(0.25)


def test_equal_deltas_give_a_point():
    delta = paired([0.5, 0.5], [0.25, 0.25])
    assert (delta.low, delta.high) == (0.25, 0.25)


def test_undefined_values_are_none():
    assert paired([], []) == Delta(0, None, None, None, None)
    assert paired([0.5], [0.25]) == Delta(1, 0.25, None, None, None)


def test_no_difference_at_all_is_p_one():
    assert paired([0.3, 0.4, 0.5], [0.3, 0.4, 0.5]).p == pytest.approx(1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_floor_and_the_seeds_that_it_needs():
    assert floor(6, 1) == pytest.approx(0.03125)
    assert floor(1, 3) == 1.0
    assert [seeds_needed(family) for family in (1, 3, 4, 11)] == [6, 7, 8, 9]


def test_verdicts():
    up, down = Delta(8, 0.02, 0.01, 0.03, 0.0078), Delta(8, -0.02, -0.03, -0.01, 0.0078)
    assert verdict(up, 0.0234, 3) is Verdict.BETTER
    assert verdict(down, 0.0234, 3) is Verdict.WORSE
    assert verdict(up, 0.2, 3) is Verdict.NO_DIFFERENCE
    assert verdict(Delta(3, 0.02, 0.01, 0.03, 0.25), 0.75, 3) is Verdict.TOO_FEW_SEEDS
    assert verdict(Delta(0, None, None, None, None), None, 3) is Verdict.TOO_FEW_SEEDS


def test_the_sign_flip_p_is_exact_at_its_floor():
    deltas = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08])
    assert summarize(deltas).p == pytest.approx(2 / 2**8)


@pytest.mark.parametrize("n", range(2, 13))
def test_the_sign_flip_p_counts_every_sign(n):
    random = np.random.default_rng(n)
    for deltas in (random.normal(size=n), random.integers(-3, 4, n) / 10, random.normal(1, 1, n)):
        sums = np.array(list(product((-1, 1), repeat=n))) @ deltas
        literal = np.mean(np.abs(sums) >= abs(deltas.sum()) - 1e-12)
        assert summarize(deltas).p == pytest.approx(literal)


@pytest.mark.parametrize("n", [4, 8, 12])
def test_paired_equals_scipy(n):
    random = np.random.default_rng(n)
    values, reference = random.normal(0.4, 0.02, (2, n))
    delta = paired(values, reference)
    tested = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert (delta.low, delta.high) == pytest.approx((tested.low, tested.high))
    permuted = stats.permutation_test(
        (values - reference,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert delta.p == pytest.approx(permuted.pvalue)


@pytest.mark.parametrize("n", [15, 30, 60])
def test_many_seeds_are_sampled_and_quick(n):
    deltas = np.random.default_rng(0).normal(0.3, 1, n)
    began = time.process_time()
    assert summarize(deltas).p == pytest.approx(stats.ttest_1samp(deltas, 0).pvalue, abs=0.02)
    first = summarize(deltas).p
    statistics.sign_flip_p.cache_clear()
    assert summarize(deltas).p == first, "the samples are fixed"
    assert summarize(np.ones(n)).p == pytest.approx(floor(n, 1), rel=0.5)
    assert time.process_time() - began < 5


def test_sums_that_differ_by_rounding_are_equal():
    """0.1 + 0.2 is not 0.3 in floats: as deltas of 3, 2 and 1 tenths they must be."""
    assert summarize([0.3, -0.2, -0.1]).p == 1.0
    assert summarize([0.3, 0.2, 0.1]).p == pytest.approx(0.25)
    assert summarize([0.30000000000000004, 0.1, -0.2]).p == summarize([0.3, 0.1, -0.2]).p


def ablations(times, arms, seeds, effect=0.0):
    """Simulated tables: verdicts of the arms, and whether each interval holds the truth.

    A seed moves all arms alike; every run has noise of its own, of standard deviation 1. The first arm is truly
    better by ``effect``.
    """
    random = np.random.default_rng(20261123)
    truth = np.array([effect] + [0.0] * (arms - 1))
    verdicts, covered = [], []
    for _ in range(times):
        shared = 2 * random.normal(size=seeds)
        baseline = shared + random.normal(size=seeds)
        deltas = [paired(shared + gain + random.normal(size=seeds), baseline) for gain in truth]
        adjusted = holm([delta.p for delta in deltas])
        verdicts.append([verdict(delta, p, arms) for delta, p in zip(deltas, adjusted, strict=True)])
        covered.append([delta.low <= gain <= delta.high for delta, gain in zip(deltas, truth, strict=True)])
    return np.array(verdicts), np.array(covered)


@pytest.mark.parametrize("arms", [3, pytest.param(4, marks=pytest.mark.slow)], ids=["baseline-and-3", "baseline-and-4"])
def test_of_2000_null_ablations_no_more_than_one_in_twenty_claims_anything(arms):
    verdicts, covered = ablations(2000, arms, 8)
    assert (verdicts != "no_difference").any(1).mean() <= 0.05
    assert 0.93 <= covered.mean() <= 0.97


@pytest.mark.parametrize(("arms", "unit"), [(3, 1.0), (3, 2**0.5), (4, 2**0.5)], ids=["of-runs", "of-deltas", "full"])
def test_an_effect_of_two_and_a_half_standard_deviations_is_found(arms, unit):
    verdicts, covered = ablations(500, arms, 8, effect=2.5 * unit)
    assert (verdicts[:, 0] == "better").mean() >= 0.8
    assert np.isin(verdicts[:, 1:], ["better", "worse"]).any(1).mean() <= 0.06
    assert 0.93 <= covered.mean() <= 0.97


def test_six_arms_and_ten_seeds_take_no_time():
    random = np.random.default_rng(0)
    began = time.process_time()
    deltas = [paired(*random.normal(size=(2, 10))) for _ in range(5)]
    adjusted = holm([delta.p for delta in deltas])
    assert len([verdict(delta, p, 5) for delta, p in zip(deltas, adjusted, strict=True)]) == 5
    assert time.process_time() - began < 2


def test_very_many_seeds_and_comparisons_have_a_verdict():
    assert floor(2500, 1) == pytest.approx(2 / (statistics.RESAMPLES + 1))
    assert statistics.resamples(300) == statistics.RESAMPLES
    assert seeds_needed(937) == 16
    rng = np.random.default_rng(0)
    seeds = range(20)
    reference = {seed: 0.3 + rng.normal(0, 0.01) for seed in seeds}
    better = {seed: reference[seed] + 0.05 + rng.normal(0, 0.001) for seed in seeds}
    pairs = [statistics.Pair(better, reference, in_family=True)] * 600
    assert {comparison.verdict for comparison in statistics.compare(pairs)} == {Verdict.BETTER}
