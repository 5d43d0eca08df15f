"""Simulated ablations: mAP of a baseline and of arms by seed. Unit: the standard deviation of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acmix_exp.report.statistics import Verdict

CLAIMS = (Verdict.BETTER, Verdict.WORSE)
FALSE, FOUND = "families with a false claim", "effect found"
BASELINE = "baseline"
TRUE = "arm 0"  # the arm with the true effect
RUN_TO_DELTA = 2**0.5  # without a correlation of the seeds, as mostly found, deltas have the variance of two runs

Array = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]  # (seeds, 1 + arms) -> mAP, the baseline first


def normal(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    return random.normal(size=shape)


def heavy_tails(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Student's t with 3 degrees of freedom, of variance 1."""
    return random.standard_t(3, shape) / 3**0.5


def lognormal(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Skewed alike in all arms, so that deltas are symmetric."""
    return random.lognormal(size=shape)


def rounded(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """With many ties."""
    return np.round(random.normal(size=shape))


def one_loud_arm(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """The last arm spreads three times as much as the others."""
    return random.normal(size=shape) * np.r_[np.ones(shape[1] - 1), 3]


def quiet_arms(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """All arms but the first spread a fifth as much as it and the baseline do, with the baseline's seed effects."""
    table = random.normal(size=shape)
    table[:, 2:] = table[:, :1] + 0.2 * table[:, 2:]
    return table


def collapses(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """A tenth of the runs of the arms lose 5; the arms' means are those of the baseline all the same."""
    table = random.normal(size=shape)
    table[:, 1:] += 0.5 - 5 * (random.random((shape[0], shape[1] - 1)) < 0.1)
    return table


def skewed_arms(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Arms with lognormal noise of mean 0, of their own each, against a quiet baseline."""
    table = 0.2 * random.normal(size=shape)
    table[:, 1:] = random.lognormal(size=(shape[0], shape[1] - 1)) - np.exp(0.5)
    return table


def table(random: np.random.Generator, n: int, arms: int, effect: float, draw: Draw = normal) -> Array:
    """mAP ``[n, 1 + arms]``; arm 0 has the true effect, in standard deviations of normal deltas."""
    made = draw(random, (n, arms + 1))
    made[:, 1] += effect * RUN_TO_DELTA
    return made


def deltas(random: np.random.Generator, n: int, arms: int, effect: float, draw: Draw = normal) -> Array:
    """``[n, arms]``."""
    made = table(random, n, arms, effect, draw)
    return made[:, 1:] - made[:, :1]


def values(
    random: np.random.Generator, n: int, arms: int, effect: float, draw: Draw = normal
) -> dict[str, Sequence[float]]:
    """By arm, the baseline too, as ``acmix_exp.report.statistics.compare`` takes it with seeds as keys."""
    made = table(random, n, arms, effect, draw).tolist()
    names = [BASELINE, *(f"arm {number}" for number in range(arms))]
    return dict(zip(names, map(list, zip(*made, strict=True)), strict=True))
