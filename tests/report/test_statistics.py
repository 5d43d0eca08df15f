"""Against values worked by hand, and what few seeds may not say."""

import numpy as np
import pytest

from acmix_exp.report import statistics
from acmix_exp.report.statistics import Delta, floor, holm, paired, seeds_needed, verdict


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
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_floor_and_the_seeds_it_asks_for():
    assert floor(6, 1) == pytest.approx(0.03125)
    assert floor(1, 3) == 1.0
    assert [seeds_needed(family) for family in (1, 3, 4, 11)] == [6, 7, 8, 9]


def test_verdicts():
    up, down = Delta(8, 0.02, 0.01, 0.03, 0.0078), Delta(8, -0.02, -0.03, -0.01, 0.0078)
    assert verdict(up, 0.0234, 3) == "better"
    assert verdict(down, 0.0234, 3) == "worse"
    assert verdict(up, 0.2, 3) == "no difference shown"
    assert verdict(Delta(3, 0.02, 0.01, 0.03, 0.25), 0.75, 3) == "n too small to tell (7 seeds would do)"
    assert verdict(Delta(0, None, None, None, None), None, 3).startswith("n too small")


def test_the_sign_flip_p_is_exact_at_its_floor():
    deltas = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08])
    assert statistics.sign_flip_p(deltas) == pytest.approx(2 / 2**8)
