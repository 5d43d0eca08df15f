"""Paired comparisons over seeds: t interval, sign-flip p value, Holm's adjustment and the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
RESAMPLES = 20_000  # of the signs; up to 14 seeds there are fewer ways to flip them, and p is exact
RESAMPLES_EACH = 60  # of them at least for each comparison of a family: Holm asks for p below LEVEL / family
BATCH = 1000  # of them at a time, which bounds the memory; the drawn signs are the same


class Verdict(StrEnum):
    """The finding on a row, in one word; ``sentences.py`` has the words for people."""

    REFERENCE = "reference"
    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NO_DIFFERENCE = "no_difference"
    TOO_FEW_SEEDS = "too_few_seeds"
    INTERIM = "interim"
    DIVERGED = "diverged"
    HARNESS_OK = "harness_ok"
    HARNESS_FAULT = "harness_fault"


@dataclass(frozen=True)
class Delta:
    """Mean difference to the reference over n paired seeds; a number is None if the seeds do not define it."""

    n: int
    mean: float | None
    low: float | None  # 95 % paired t interval
    high: float | None
    p: float | None  # two-sided sign-flip p


class Pair(NamedTuple):
    """Two arms to compare, as mAP by seed; ``reference`` is None if there is nothing to compare with."""

    values: Mapping[int, float]
    reference: Mapping[int, float] | None
    in_family: bool


@dataclass(frozen=True)
class Comparison:
    """An arm against its reference. ``deltas`` are by seed; the family is that of Holm's adjustment."""

    deltas: Mapping[int, float]
    delta: Delta
    in_family: bool = False
    p_adjusted: float | None = None
    p_floor: float | None = None  # the smallest p_adjusted that so many seeds can give
    seeds_needed: int | None = None  # the fewest with which better or worse is possible
    verdict: Verdict | None = None


def compare(pairs: Sequence[Pair]) -> list[Comparison]:
    """Compare each pair over the seeds that both arms have; Holm adjusts over the pairs of the family.

    A member with too few seeds for a p value counts in the family all the same. A pair outside is a family of one.
    """
    deltas = [differences(pair.values, pair.reference or {}) for pair in pairs]
    drawn = resamples(sum(pair.in_family for pair in pairs))
    summaries = [
        summarize(list(by_seed.values()), drawn if pair.in_family else RESAMPLES)
        for pair, by_seed in zip(pairs, deltas, strict=True)
    ]
    members = [delta for pair, delta in zip(pairs, summaries, strict=True) if pair.in_family]
    adjusted = iter(holm([1.0 if delta.p is None else delta.p for delta in members]))
    comparisons = []
    for pair, by_seed, delta in zip(pairs, deltas, summaries, strict=True):
        p_adjusted = next(adjusted) if pair.in_family else delta.p
        if pair.reference is None:
            comparisons.append(Comparison({}, delta))
            continue
        family = len(members) if pair.in_family else 1
        p = None if delta.p is None else p_adjusted
        least = floor(delta.n, family) if delta.n else None
        comparisons.append(
            Comparison(by_seed, delta, pair.in_family, p, least, seeds_needed(family), verdict(delta, p, family))
        )
    return comparisons


def differences(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """By seed, for the seeds that both have."""
    return {seed: values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())}


def summarize(deltas: Sequence[float] | np.ndarray, drawn: int = RESAMPLES) -> Delta:
    """Mean, interval and p of differences by seed; ``drawn``: of :func:`sign_flip_p`.

    The t interval assumes normal differences, the sign-flip p only symmetric ones. One difference has neither.
    """
    n = len(deltas)
    low, high = t_interval(deltas)
    mean = float(np.mean(deltas)) if n else None
    return Delta(n, mean, low, high, sign_flip_p(tuple(map(float, deltas)), drawn) if n > 1 else None)


def t_interval(deltas: Sequence[float] | np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % paired t interval of the mean; None, None below two differences, a point if all are equal."""
    n = len(deltas)
    if n < 2:
        return None, None
    mean, half = float(np.mean(deltas)), 0.0
    if np.ptp(deltas) >= 1e-12:  # smaller ones are rounding, not spread
        half = _t_quantile(n - 1) * float(np.std(deltas, ddof=1)) / n**0.5
    return mean - half, mean + half


@lru_cache(maxsize=64)
def _t_quantile(freedom: int) -> float:
    from scipy import stats  # takes most of a second

    return float(stats.t.ppf(1 - LEVEL / 2, freedom))


@lru_cache(maxsize=4096)
def sign_flip_p(deltas: tuple[float, ...], drawn: int = RESAMPLES) -> float:
    """Two-sided p of the mean over all 2**n ways to flip the signs; over ``drawn`` random ones if those are fewer."""
    from scipy import stats

    def mean(flipped: np.ndarray, axis: int) -> np.ndarray:
        return np.round(flipped.mean(axis=axis), 12)  # means that differ by rounding errors are equal

    test = stats.permutation_test(
        (np.array(deltas),), mean, permutation_type="samples", n_resamples=drawn, vectorized=True, batch=BATCH, rng=0
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over the family."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(sorted((p, i) for i, p in enumerate(p_values))):
        highest = max(highest, min(1.0, p * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def floor(n: int, family: int) -> float:
    """The smallest adjusted p that n seeds can give: that of equal signs, times the family."""
    return min(1.0, family * max(2.0 ** (1 - n), 2.0 / (resamples(family) + 1)))


def resamples(family: int) -> int:
    """How many random flips are tried: so many that a p can be significant in a family of that size."""
    return max(RESAMPLES, RESAMPLES_EACH * family)


def seeds_needed(family: int) -> int:
    """The fewest seeds with which a difference can be significant at 5 %."""
    return next(n for n in itertools.count(1) if floor(n, family) <= LEVEL)


def verdict_with_diverged(found: Verdict | None, at_zero: Verdict | None, *, own: bool) -> Verdict | None:
    """The verdict on a pair of arms of which some runs diverged.

    found: from the finished runs alone. at_zero: with the diverged runs of both arms at mAP 0. own: whether the arm
    itself has diverged runs. What holds both ways stays, but an arm that diverged is better or diverged.
    """
    if found is at_zero and (found is Verdict.BETTER or not own):
        return found
    return Verdict.DIVERGED


def verdict(delta: Delta, p_adjusted: float | None, family: int) -> Verdict:
    """The finding on a comparison."""
    if delta.mean is None or floor(delta.n, family) > LEVEL:
        return Verdict.TOO_FEW_SEEDS
    if p_adjusted is None or p_adjusted > LEVEL:
        return Verdict.NO_DIFFERENCE
    return Verdict.BETTER if delta.mean > 0 else Verdict.WORSE
