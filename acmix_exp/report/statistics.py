"""Which row of a table may be called the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.05
MOST_EXACT = 40  # seeds


@dataclass(frozen=True)
class Delta:
    """Per-seed differences to the reference; every figure is None where the seeds do not define it."""

    n: int
    mean: float | None
    low: float | None  # 95 % paired t interval
    high: float | None
    p: float | None  # exact two-sided sign-flip p


def paired(values: Sequence[float], reference: Sequence[float]) -> Delta:
    """Compare two arms seed by seed; both sequences are in the same order of seeds.

    The t interval takes the differences as normal, the sign-flip p as symmetric alone. Equal differences give
    [x, x]; one difference has neither interval nor p.
    """
    deltas = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    n = len(deltas)
    if n == 0:
        return Delta(0, None, None, None, None)
    centre = float(deltas.mean())
    if n == 1:
        return Delta(1, centre, None, None, None)
    half = 0.0
    if np.ptp(deltas) >= 1e-12:  # below it is rounding, not spread
        half = _t_quantile(n - 1) * float(deltas.std(ddof=1)) / n**0.5
    return Delta(n, centre, centre - half, centre + half, sign_flip_p(deltas))


@lru_cache(maxsize=64)
def _t_quantile(freedom: int) -> float:
    return float(stats.t.ppf(1 - LEVEL / 2, freedom))


def sign_flip_p(deltas: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of the mean over all 2**n ways to flip the signs; above 40 seeds from 20,000 drawn ones.

    Every sum is one of a first half plus one of a second, so that 2**(n/2) of each are enough to count those that are
    as extreme as the sum seen. Sums that differ by rounding alone are as extreme.
    """
    sizes = np.abs(np.asarray(deltas, dtype=float))
    if len(sizes) > MOST_EXACT:
        drawn = stats.permutation_test(
            (np.asarray(deltas),), np.mean, permutation_type="samples", n_resamples=20_000, vectorized=True, rng=0
        )
        return float(drawn.pvalue)
    rounding = 1e-9 * sizes.sum()
    seen = abs(float(np.sum(deltas)))
    if seen <= rounding:
        return 1.0
    middle = len(sizes) // 2
    first, second = _sums(sizes[:middle]), np.sort(_sums(sizes[middle:]))
    above = len(first) * len(second) - np.searchsorted(second, seen - rounding - first).sum()
    return float(2 * above / 2 ** len(sizes))


def _sums(sizes: np.ndarray) -> np.ndarray:
    """The 2**n sums of the sizes under every choice of signs."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums


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


def best_row(rows: list[dict[str, Any]]) -> int | None:
    """The row of the highest mean where the verdicts allow to call it best.

    Either it is better than the reference, or it is the reference and every arm compared with it is worse. Where
    several are better than the reference, it must differ from each of them too, by the same test and adjusted by Holm.
    """
    means = [(row["map50_95_mean"], place) for place, row in enumerate(rows) if row["map50_95_mean"] is not None]
    if not means:
        return None
    top = max(mean for mean, _ in means)
    places = [place for mean, place in means if mean == top]
    if len(places) > 1:
        return None
    first = rows[places[0]]
    compared = [row for row in rows if row["in_family"]]
    if first["verdict"] == "reference":
        return places[0] if compared and {row["verdict"] for row in compared} == {"worse"} else None
    if first["verdict"] != "better" or not first["in_family"]:
        return None
    others = [row for row in compared if row["verdict"] == "better" and row is not first]
    return places[0] if all(p <= LEVEL for p in _against(first, others)) else None


def _against(row: dict[str, Any], others: list[dict[str, Any]]) -> list[float]:
    """Holm-adjusted p of the row's difference to each of the others, over the seeds they share; 1 where undefined."""
    found = []
    mine = _by_seed(row)
    for other in others:
        theirs = _by_seed(other)
        seeds = sorted(mine.keys() & theirs.keys())
        p = paired([mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]).p
        found.append(1.0 if p is None else p)
    return [1.0 if p is None else p for p in holm(found)]


def _by_seed(row: dict[str, Any]) -> dict[int, float]:
    return {value["seed"]: value["map50_95"] for value in row["values"]}
