"""Paired comparison of arms: what n seeds allow to say, and what they don't.

Sources: Picard, arXiv 2109.08203; Bouthillier et al., arXiv 2103.03098; Holm, Scand. J. Statist. 6 (1979) 65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.05


@dataclass(frozen=True)
class Delta:
    """Per-seed differences to the baseline; every figure is None where the seeds do not define it."""

    n: int
    mean: float | None
    low: float | None  # 95 % paired t interval
    high: float | None
    p: float | None  # exact two-sided sign-flip p


def paired(values: Sequence[float], reference: Sequence[float]) -> Delta:
    """Compare two arms seed by seed; both sequences are in the same order of seeds."""
    deltas = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    n = len(deltas)
    if n == 0:
        return Delta(0, None, None, None, None)
    if n == 1:
        return Delta(1, float(deltas[0]), None, None, None)
    centre = float(deltas.mean())
    if np.ptp(deltas) < 1e-12:  # rounding, not spread
        low = high = centre
    else:
        interval = stats.ttest_1samp(deltas, 0.0).confidence_interval(1 - LEVEL)
        low, high = float(interval.low), float(interval.high)
    return Delta(n, centre, low, high, sign_flip_p(deltas))


def sign_flip_p(deltas: np.ndarray) -> float:
    """Exact two-sided p of the mean under random signs; above 14 seeds from 20,000 drawn ones."""
    result = stats.permutation_test(
        (deltas,), np.mean, permutation_type="samples", n_resamples=20_000, vectorized=True, rng=0
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment over the family; None stays None and is no member."""
    adjusted: list[float | None] = [None] * len(p_values)
    ordered = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    highest = 0.0
    for rank, (p, i) in enumerate(ordered):
        highest = max(highest, min(1.0, p * (len(ordered) - rank)))
        adjusted[i] = highest
    return adjusted


def floor(n: int, family: int) -> float:
    """The smallest adjusted p that n seeds can give: the sign-flip p can't go below 2 / 2**n, times the family."""
    return min(1.0, family * 2.0 / 2.0**n)


def seeds_needed(family: int) -> int:
    """The fewest seeds with which a claim at 5 % is possible at all."""
    n = 1
    while floor(n, family) > LEVEL:
        n += 1
    return n


def verdict(delta: Delta, p_adjusted: float | None, family: int) -> str:
    """The finding in words."""
    if delta.mean is None or floor(delta.n, family) > LEVEL:
        return f"n too small to tell ({seeds_needed(family)} seeds would do)"
    if p_adjusted is None or p_adjusted > LEVEL:
        return "no difference shown"
    return "better" if delta.mean > 0 else "worse"
