"""Paired comparisons over seeds: intervals, p values and the verdict.

One arm alone has the paired t interval and the sign-flip p of its deltas. A family of arms is judged by the joint
sign-flip test of :mod:`acmix_exp.report.sign_flips` at 5 %: an arm is better or worse exactly if its simultaneous
interval excludes zero. Equivalence is shown by two one-sided t tests at 5 % each: the 90 % interval lies within the
margin (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). Each arm has its own, without adjustment
for the number of arms.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from acmix_exp.report import sample_size, sign_flips
from acmix_exp.report.sign_flips import LEVEL

if TYPE_CHECKING:
    from acmix_exp.report.sequential import Decision


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
class Comparison:
    """An arm against its reference over paired seeds; a number is None if the seeds do not define it."""

    deltas: Mapping[int, float] = field(default_factory=dict)  # by seed
    n: int = 0
    mean: float | None = None
    low: float | None = None  # 95 % paired t interval, of this arm alone
    high: float | None = None
    p: float | None = None  # two-sided sign-flip p, of this arm alone
    excludes: float | None = None  # the smallest margin within which the difference is shown to be
    in_family: bool = False
    joint_seeds: Sequence[int] = ()  # those of the joint test; empty if the arm is not in it
    simultaneous_low: float | None = None  # 95 % interval that holds with those of the whole family
    simultaneous_high: float | None = None
    p_adjusted: float | None = None  # of the joint test
    p_floor: float | None = None  # the smallest p_adjusted that so many seeds can give
    detectable: float | None = None  # the true difference that is found with 80 % probability, at the spread seen
    seeds_needed: int | None = None  # the fewest with which better or worse is possible
    margin: float | None = None  # of equivalence
    verdict: Verdict | None = None
    decision: Decision | None = None  # of seeds=auto: the look that decided it
    goes_on_to: int | None = None  # of seeds=auto: the seeds of the look that is still to come

    @property
    def look(self) -> int | None:
        """The seeds of the look that decided it; None without seeds=auto, and before."""
        return self.decision.seeds if self.decision else None


def compare(
    values: Mapping[str, Mapping[int, float]], reference: str = "baseline", margin: float | None = None
) -> dict[str, Comparison]:
    """Each arm against the reference, all as one family; ``values`` are mAP by arm and seed.

    ``margin``: differences up to it count as none, in mAP; it must have been fixed before the first run. Raises
    ValueError if the reference is not among the arms, a value is not finite or the margin is not above 0.
    """
    if reference not in values:
        raise ValueError(f"reference={reference}: must be one of {', '.join(values)}")
    for arm, by_seed in values.items():
        if bad := [seed for seed, value in by_seed.items() if not math.isfinite(value)]:
            raise ValueError(f"values of {arm}, seed {bad[0]}: must be finite, got {by_seed[bad[0]]}")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin={margin}: must be above 0")
    others = {arm: by_seed for arm, by_seed in values.items() if arm != reference}
    deltas = [differences(by_seed, values[reference]) for by_seed in others.values()]
    return dict(zip(others, compare_family(deltas, margin), strict=True))


def compare_family(deltas: Sequence[Mapping[int, float]], margin: float | None = None) -> list[Comparison]:
    """The comparisons of one family, each given by its deltas by seed; ``margin`` as for :func:`compare`."""
    members, seeds = joint_members([by_seed.keys() for by_seed in deltas])
    columns = [[deltas[member][seed] for seed in seeds] for member in members]
    tested = dict(zip(members, _joint(columns, seeds, len(deltas)), strict=True))
    found = []
    for place, own in enumerate(compare_alone(deltas)):
        shared = own.deltas.keys() & set(seeds)
        comparison = replace(
            own,
            in_family=True,
            p_floor=sign_flips.floor(len(shared)) if own.n else None,
            seeds_needed=sign_flips.seeds_needed(),
            margin=margin,
            **tested.get(place, {}),
        )
        found.append(replace(comparison, verdict=_verdict(comparison)))
    return found


def compare_alone(deltas: Sequence[Mapping[int, float]]) -> list[Comparison]:
    """What each comparison says by itself, given by its deltas by seed: no family, no verdict.

    The t interval assumes normal deltas, the sign-flip p only symmetric ones. One delta has neither.
    """
    alone = []
    for by_seed, p in zip(deltas, _own_p([list(by_seed.values()) for by_seed in deltas]), strict=True):
        values = list(by_seed.values())
        low, high = t_interval(values)
        margins = [abs(end) for end in t_interval(values, 2 * LEVEL) if end is not None]
        mean = float(np.mean(values)) if values else None
        alone.append(Comparison(dict(by_seed), len(values), mean, low, high, p, max(margins, default=None)))
    return alone


def joint_members(seeds: Sequence[Collection[int]]) -> tuple[list[int], list[int]]:
    """Which members of a family, each given by its seeds, the joint test takes, by place, and the seeds of it.

    The seeds are those that all its members have. A member with too few seeds to be called better or worse is left
    out, if another has enough, and then the one whose absence leaves the most seeds, until the rest has enough in
    common. Who is left out does not depend on any mAP and is called nothing, so the error rate of the others stands.
    """
    needed, most = sign_flips.seeds_needed(), max(map(len, seeds), default=0)
    members = [place for place, own in enumerate(seeds) if own and len(own) >= min(needed, most)]

    def common(places: Sequence[int]) -> set[int]:
        return set.intersection(*(set(seeds[place]) for place in places)) if places else set()

    while most >= needed and len(members) > 1 and len(common(members)) < needed:
        without = {place: common([other for other in members if other != place]) for place in members}
        members.remove(max(members, key=lambda place: (len(without[place]), -len(seeds[place]), place)))
    return members, sorted(common(members))


def _joint(columns: Sequence[Sequence[float]], seeds: Sequence[int], family: int) -> list[dict[str, Any]]:
    """What the joint test says of each of its members, by field of :class:`Comparison`."""
    if not columns or not seeds:
        return [{} for _ in columns]
    deltas = np.array(columns).T
    middle = sample_size.family_sd(columns)
    ends = zip(*sign_flips.simultaneous_intervals(deltas), strict=True)
    return [
        {
            "joint_seeds": tuple(seeds),
            "simultaneous_low": float(low) if math.isfinite(low) else None,
            "simultaneous_high": float(high) if math.isfinite(high) else None,
            "p_adjusted": float(p),
            "detectable": _detectable(column, family, middle),
        }
        for column, p, (low, high) in zip(columns, sign_flips.joint_p(deltas), ends, strict=True)
    ]


def _detectable(deltas: Sequence[float], family: int, family_sd: float | None) -> float | None:
    """As sample_size.detectable, at the spread seen; None if none was seen."""
    sd = sample_size.standard_deviation(deltas)
    if sd is None or family_sd is None or max(sd, family_sd) < 1e-12:
        return None
    return sample_size.detectable(sd, len(deltas), family, family_sd=family_sd)


def _own_p(deltas: Sequence[Sequence[float]]) -> list[float | None]:
    """The sign-flip p of each by itself; those of one length are worked out together."""
    p: list[float | None] = [None] * len(deltas)
    for n in {len(values) for values in deltas} - {0, 1}:
        places = [place for place, values in enumerate(deltas) if len(values) == n]
        together = sign_flips.joint_p(np.array([deltas[place] for place in places])[..., None])
        for place, value in zip(places, together[:, 0], strict=True):
            p[place] = float(value)
    return p


def _verdict(comparison: Comparison) -> Verdict:
    """The finding on a member of a family. Equivalence comes first: a difference within the margin counts as none.

    Few deltas that are all equal show no spread, so nothing is excluded by them.
    """
    low, high, margin = comparison.simultaneous_low, comparison.simultaneous_high, comparison.margin
    spread = comparison.low != comparison.high or comparison.n >= sign_flips.seeds_needed()
    if margin is not None and comparison.excludes is not None and comparison.excludes <= margin and spread:
        return Verdict.EQUIVALENT
    if comparison.p_floor is None or comparison.p_floor > LEVEL or comparison.p_adjusted is None:
        return Verdict.TOO_FEW_SEEDS
    if low is not None and low > 0:
        return Verdict.BETTER
    return Verdict.WORSE if high is not None and high < 0 else Verdict.NO_DIFFERENCE


def verdict_with_diverged(found: Verdict | None, at_zero: Verdict | None, *, own: bool) -> Verdict | None:
    """The verdict on a pair of arms of which some runs diverged.

    found: from the finished runs alone. at_zero: with the diverged runs of both arms at mAP 0. own: whether the arm
    itself has diverged runs. What holds both ways stays, but an arm that diverged is better or diverged.
    """
    if found is at_zero and (found is Verdict.BETTER or not own):
        return found
    return Verdict.DIVERGED


def differences(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """By seed, for the seeds that both have."""
    return {seed: values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())}


def t_interval(deltas: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float | None, float | None]:
    """The paired t interval of the mean, 95 % by default; None, None below two deltas, a point if all are equal."""
    n = len(deltas)
    if n < 2:
        return None, None
    mean, half = float(np.mean(deltas)), 0.0
    if np.ptp(deltas) >= 1e-12:  # smaller ones are rounding, not spread
        half = _t_quantile(n - 1, level) * float(np.std(deltas, ddof=1)) / n**0.5
    return mean - half, mean + half


@lru_cache(maxsize=64)
def _t_quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit  # much faster to import than scipy.stats

    return float(stdtrit(freedom, 1 - level / 2))
