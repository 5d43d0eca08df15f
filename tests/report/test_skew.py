"""Which findings rest on one seed."""

from __future__ import annotations

import numpy as np
import pytest

from acmix_exp.report import skew
from acmix_exp.report.sign_flips import joint_p
from acmix_exp.report.skew import Change, rests_on


def column(*deltas: float) -> np.ndarray:
    return np.array(deltas)[:, None]


@pytest.mark.parametrize(
    ("deltas", "found"),
    [
        ((0.01, 0.012, 0.011, 0.009, 0.01, 0.011, 0.008, 0.012), []),
        ((-0.002, -0.001, -0.003, 0.1, -0.001, -0.002, -0.002, -0.001), [(0, 3, Change.SIGN)]),
        ((0.01, 0.012, 0.011, 0.009, -0.03, 0.011, 0.008, 0.012), [(0, 4, Change.CLAIM_NEW)]),
        ((0.01, 0.01), []),
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), []),
    ],
    ids=["clear", "sign", "hidden", "two-seeds", "equal"],
)
def test_one_arm(deltas, found):
    assert rests_on(column(*deltas)) == found


def test_a_claim_that_one_seed_carries():
    deltas = column(0.001, -0.0005, 0.002, 0.03, 0.012, -0.0002, 0.015, 0.02)
    assert joint_p(deltas)[0] <= 0.05
    ((arm, seed, change),) = rests_on(deltas)
    assert (arm, change) == (0, Change.CLAIM_LOST)
    assert joint_p(np.delete(deltas, seed, 0))[0] > 0.05


def test_with_six_seeds_a_claim_is_judged_by_the_smallest_p_of_five():
    assert rests_on(column(0.01, 0.012, 0.011, 0.009, 0.01, 0.011)) == []


def test_of_very_large_families_only_the_means_are_tried(monkeypatch):
    monkeypatch.setattr(skew, "MOST_SIGNS", 1)
    deltas = np.hstack([column(-0.002, -0.001, -0.003, 0.1, -0.001, -0.002, -0.002, -0.001)] * 2)
    assert [change for _, _, change in rests_on(deltas)] == [Change.SIGN, Change.SIGN]


def test_normal_deltas_are_seldom_called_skewed():
    random = np.random.default_rng(0)
    found = [rests_on(random.normal(size=(8, 4))) for _ in range(300)]
    assert np.mean([bool(one) for one in found]) < 0.12
    heavy = [rests_on(random.normal(size=(8, 4)) + 1 - 10 * (random.random((8, 4)) < 0.1)) for _ in range(100)]
    assert np.mean([bool(one) for one in heavy]) > 0.5
