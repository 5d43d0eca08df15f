"""Power of the joint sign-flip test: what so many seeds can find, and how many seeds a difference needs.

Power is the probability that an arm with a true difference is called better or worse at 5 %. It depends on the number
of seeds n, on the number of comparisons in the family and on the difference in standard deviations of the deltas.
sample_size.csv has, by n and family, the differences found with 50 % and with 80 %, simulated with normal deltas by
``scripts/sample_size.py``. In between, power is taken to follow a normal distribution function of the difference,
which is within 0.02 of the simulation.

For callers: :func:`detectable` (a column of the table), :func:`seeds_for`, :func:`upper_limit`, :func:`pooled`.

Source of the upper limit: the chi-square interval of a variance, as advised for pilot studies by Browne, Statistics in
Medicine 14 (1995).
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist, fmean, median, variance

import numpy as np

from acmix_exp.report import sign_flips

ROUNDING = 1e-9  # a smaller standard deviation is none
POWER = 0.8
EFFECTS = (0.005, 0.01, 0.02)  # true differences in mAP50-95 that a table says the seeds for
HIGHEST_POWER = 0.99
CONFIDENCE = 0.8  # one-sided, of the upper limit of a standard deviation
FILE = Path(__file__).with_suffix(".csv")
RUN_TO_DELTA = 2**0.5  # deltas of runs that do not correlate have a variance of two runs


def detectable(sd: float, n: int, family: int, power: float = POWER, family_sd: float | None = None) -> float | None:
    """The smallest true difference of an arm that is found with the probability ``power``, in the unit of ``sd``.

    sd: standard deviation of the arm's deltas. n: seeds. family: comparisons in it, the arm's own included. family_sd:
    the median of sd over the family, if the arms differ: the test divides by s + median of s, so that an arm that
    is quieter than the others needs nearly as large a difference as they do. None if no p of so many seeds is at most
    5 %.
    """
    if n < sign_flips.seeds_needed():
        return None
    return _in_sd(n, family, power) * (sd + max(sd, family_sd or 0.0)) / 2


def seeds_for(difference: float, sd: float, family: int, power: float = POWER) -> int:
    """The fewest seeds that find a true difference with the probability ``power``.

    difference and sd, that of the deltas, are in one unit and above 0.
    """
    fewest = sign_flips.seeds_needed()
    ratio = difference / sd
    if _in_sd(fewest, family, power) <= ratio:
        return fewest
    enough = next(n for n in (fewest * 2**step for step in itertools.count(1)) if _in_sd(n, family, power) <= ratio)
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if _in_sd(middle, family, power) <= ratio else (middle, enough)
    return enough


def upper_limit(sd: float, n: int) -> float | None:
    """The standard deviation that the true one exceeds with 20 % probability, given one of n normal values.

    ``sd * sqrt((n - 1) / quantile)``, the 20 % quantile of chi-square with n - 1 degrees of freedom. None if n < 2.
    """
    from scipy.special import chdtri  # much faster to import than scipy.stats

    return sd * math.sqrt((n - 1) / float(chdtri(n - 1, CONFIDENCE))) if n > 1 else None


def standard_deviation(deltas: Sequence[float]) -> float | None:
    """Of an arm's deltas, with n - 1; None of fewer than two."""
    return math.sqrt(variance(deltas)) if len(deltas) > 1 else None


def pooled(deltas: Sequence[Sequence[float]]) -> float | None:
    """The root of the mean variance of the arms' deltas, over the arms with two or more; None if there are none."""
    variances = [variance(arm) for arm in deltas if len(arm) > 1]
    return math.sqrt(fmean(variances)) if variances else None


def family_sd(deltas: Sequence[Sequence[float]]) -> float | None:
    """The median standard deviation of the arms' deltas; None if no arm has two."""
    known = [sd for sd in map(standard_deviation, deltas) if sd is not None]
    return median(known) if known else None


@lru_cache(maxsize=4096)
def _in_sd(n: int, family: int, power: float) -> float:
    """The difference found with the probability ``power``, in standard deviations of the deltas."""
    half, most = (_interpolated(n, max(family, 1), column) for column in (0, 1))
    return half + (most - half) * NormalDist().inv_cdf(power) / NormalDist().inv_cdf(POWER)


def _interpolated(n: int, family: int, column: int) -> float:
    """Between the lines of the table: linear in 1/sqrt(n), then in the logarithm of the family, also beyond its ends.

    Times sqrt(n), the difference depends little on n: beyond the last n it is that of the last.
    """
    table = _table()
    seeds = sorted({of for of, _ in table})
    families = sorted({of for _, of in table})
    low, high = _neighbours(families, family)
    places = [-(of**-0.5) for of in seeds]
    at_low, at_high = (
        float(np.interp(-(n**-0.5), places, [table[of, size][column] * of**0.5 for of in seeds]))
        for size in (low, high)
    )
    return (at_low + (at_high - at_low) * math.log(family / low) / math.log(high / low)) / n**0.5


def _neighbours(sorted_values: Sequence[int], value: int) -> tuple[int, int]:
    """The two neighbouring values around one, or those at the end that is nearer."""
    place = int(np.searchsorted(sorted_values, value))
    place = min(max(place, 1), len(sorted_values) - 1)
    return sorted_values[place - 1], sorted_values[place]


@lru_cache(maxsize=1)
def _table() -> Mapping[tuple[int, int], tuple[float, float]]:
    """By seeds and family: the differences found with 50 % and 80 %."""
    with FILE.open(encoding="utf-8") as file:
        return {
            (int(line["seeds"]), int(line["family"])): (float(line["half"]), float(line["most"]))
            for line in csv.DictReader(file)
        }
