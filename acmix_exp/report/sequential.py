"""``seeds=auto``: a group-sequential plan. Arms are tested at a few numbers of seeds, the looks, and stop early.

Each look spends a share of the 5 % of false claims: an arm is better or worse if its joint p, that of ``sign_flips``,
is at most the share. By Bonferroni's inequality the shares of all looks bound the error of the whole plan, whenever
and for whatever reason it is stopped. An arm that cannot be expected to become better or worse stops for futility. The
rule is not binding: stopping can only lower the number of claims, so the bound holds whether it is followed or not.

A decided arm leaves the family, as in a step-down test. One that stops for futility stays in it: to test the others in
a smaller family, which was chosen by its results, would raise the error. It has no deltas at the new seeds, so the
ones that it has are repeated. That takes only their spread into the test, because all signs are flipped.

Sources: looks that each spend a part of the error fixed in advance, Slud & Wei, JASA 77 (1982); removing what is
decided from the family, Marcus, Peritz & Gabriel, Biometrika 63 (1976); futility by predictive power, Spiegelhalter,
Freedman & Blackburn, Controlled Clinical Trials 7 (1986); futility that is not binding, Jennison & Turnbull, Group
Sequential Methods, 2000; intervals at the level of the look, the same authors, JRSS B 51 (1989).

For callers: :class:`Looks`, :class:`Arm`, :func:`decide`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from acmix_exp.report import sign_flips
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.statistics import Verdict, t_interval

CHANCE = 0.15  # of becoming better or worse at a later look: an arm that has less stops

Key = TypeVar("Key", bound=Hashable)


class Arm(NamedTuple):
    """Differences to the reference by seed, and the seeds at which both runs have ended: the others diverged."""

    deltas: Mapping[int, float]
    ended: Collection[int]


@dataclass(frozen=True)
class Looks:
    """The numbers of seeds at which arms are tested, rising, and the share of the 5 % that each look spends."""

    seeds: tuple[int, ...]
    shares: tuple[float, ...]

    def can_claim(self, number: int) -> bool:
        """Whether so many seeds can give a p within the share; else the look can stop arms for futility only."""
        return self.shares[number] >= sign_flips.floor(self.seeds[number])

    @property
    def one_sided(self) -> float:
        """The level of each one-sided test of equivalence: by Bonferroni's inequality that of one look."""
        return LEVEL / len(self.seeds)

    def excluded(self, deltas: Sequence[float]) -> float:
        """The smallest margin within which the difference is shown to be, whenever the plan is stopped."""
        return max((abs(end) for end in t_interval(deltas, 2 * self.one_sided) if end is not None), default=math.inf)


@dataclass(frozen=True)
class Decision:
    """What became of an arm at its last look.

    p, low, high: joint p and simultaneous interval at the level ``1 - share``, or 95 % if the look cannot claim; None
    if a run diverged or the seeds are too few. chance: the predictive power of an arm that stopped for futility.
    """

    verdict: Verdict
    seeds: int
    share: float
    p: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Progress(Generic[Key]):
    """Decided arms, arms that go on, and the number of seeds of the look that they go on to (None: none goes on)."""

    decisions: dict[Key, Decision] = field(default_factory=dict)
    running: list[Key] = field(default_factory=list)
    seeds: int | None = None


def decide(arms: Mapping[Key, Arm], looks: Looks, margin: float | None = None) -> Progress[Key]:
    """Apply the plan to the runs that have ended: seeds 0, 1, ... of every arm of a family.

    A look takes place once all arms that go on have ended at all its seeds, so that the result depends on the runs
    alone, and is the same whenever it is asked for. An arm of which a run, or one of its reference, diverged is tested
    no more. margin: an arm whose difference is shown to be within it is equivalent, and stops.
    """
    running, stopped = list(arms), dict[Key, Sequence[float]]()
    decisions: dict[Key, Decision] = {}
    for number, seeds in enumerate(looks.seeds):
        if not running:
            break
        if any(not set(range(seeds)) <= set(arms[key].ended) for key in running):
            return Progress(decisions, running, seeds)
        for key in [key for key in running if not set(range(seeds)) <= arms[key].deltas.keys()]:
            decisions[key] = Decision(Verdict.DIVERGED, seeds, looks.shares[number])
            stopped[key] = [delta for seed, delta in sorted(arms[key].deltas.items()) if seed < seeds]
            running.remove(key)
        of_look = {key: [arms[key].deltas[seed] for seed in range(seeds)] for key in running}
        for key, decision in _look(of_look, [deltas for deltas in stopped.values() if deltas], looks, number, margin):
            decisions[key] = decision
            running.remove(key)
            if decision.verdict not in (Verdict.BETTER, Verdict.WORSE):
                stopped[key] = of_look[key]
    return Progress(decisions, running, None)


def _look(
    arms: Mapping[Key, Sequence[float]],
    stopped: Sequence[Sequence[float]],
    looks: Looks,
    number: int,
    margin: float | None,
) -> list[tuple[Key, Decision]]:
    """The decisions at one look; arms that are missing in it go on. The deltas of ``arms`` are of its seeds."""
    if not arms:
        return []
    seeds, share, claims = looks.seeds[number], looks.shares[number], looks.can_claim(number)
    family = np.array([*arms.values(), *(np.resize(deltas, seeds) for deltas in stopped)]).T
    p_values = sign_flips.joint_p(family)
    found: list[tuple[Key, Decision]] = []
    for place, (key, deltas) in enumerate(arms.items()):
        p, verdict, chance = float(p_values[place]), Verdict.NO_DIFFERENCE, None
        if margin is not None and looks.excluded(deltas) <= margin:
            verdict = Verdict.EQUIVALENT
        elif claims and p <= share + sign_flips.TOLERANCE:
            verdict = Verdict.BETTER if math.fsum(deltas) > 0 else Verdict.WORSE
        elif number + 1 < len(looks.seeds):
            chance = predictive_power(deltas, looks, number, family.shape[1], margin)
            if chance >= CHANCE:
                continue
        found.append((key, Decision(verdict, seeds, share, p, chance=chance)))
    if not found:
        return []
    ends = zip(*sign_flips.simultaneous_intervals(family, share if claims else LEVEL), strict=True)
    intervals = dict(zip(arms, ends, strict=False))  # without those of the stopped arms
    return [
        (key, replace(decision, low=_finite(intervals[key][0]), high=_finite(intervals[key][1])))
        for key, decision in found
    ]


def _finite(end: float) -> float | None:
    return float(end) if math.isfinite(end) else None


def predictive_power(
    deltas: Sequence[float], looks: Looks, number: int, family: int, margin: float | None = None
) -> float:
    """The chance that an arm is decided at a look after the given one, at whichever look it is highest.

    The mean of all N deltas, given the n seen ones, has a t distribution with n - 1 degrees of freedom around the seen
    mean, of scale ``s sqrt(1/n - 1/N)``: the prediction without prior knowledge. To be better or worse it must exceed
    the normal quantile of ``share / (2 family)`` times ``s / sqrt(N)``, an approximation to the joint test that matters
    for stopping alone. To be equivalent it must be within the margin by the half width of its t interval.
    """
    from scipy.special import stdtr, stdtrit  # much faster to import than scipy.stats

    n, mean, s = len(deltas), float(np.mean(deltas)), float(np.std(deltas, ddof=1))
    if s < 1e-12:  # all are equal but for rounding
        return float(abs(mean) > 1e-12)
    chances = [0.0]
    for later in range(number + 1, len(looks.seeds)):
        total = looks.seeds[later]
        scale = s * (1 / n - 1 / total) ** 0.5

        def within(bound: float, scale: float = scale) -> float:
            return float(stdtr(n - 1, (bound - mean) / scale) - stdtr(n - 1, (-bound - mean) / scale))

        if looks.can_claim(later):
            quantile = -NormalDist().inv_cdf(looks.shares[later] / (2 * family))
            chances.append(1 - within(quantile * s / total**0.5))
        if margin is not None:
            half = float(stdtrit(total - 1, 1 - looks.one_sided)) * s / total**0.5
            chances.append(within(margin - half) if half < margin else 0.0)
    return max(chances)
