"""Families of a fixed number of seeds: false claims, power, intervals, missing seeds, skewed deltas, equivalence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from acmix_exp.report.skew import Change, rests_on
from acmix_exp.report.statistics import Comparison, Verdict, compare
from benchmarks.validity.designs import CLAIMS, FALSE, FOUND, RUN_TO_DELTA, TRUE, Draw, normal, values


def by_seed(table: Mapping[str, list[float]]) -> dict[str, dict[int, float]]:
    return {arm: dict(enumerate(own)) for arm, own in table.items()}


def verdicts(
    repeats: int, seed: int, *, n: int, arms: int, effect: float = 0.0, draw: Draw = normal, lacking: float = 0.0
) -> dict[str, float]:
    """How often an arm without a true effect is called better or worse, and how often the one with it is better.

    effect: of arm 0, in standard deviations of the deltas. lacking: the share of the arms' runs that are missing.
    """
    random = np.random.default_rng(seed)
    found = false = 0
    for _ in range(repeats):
        table = by_seed(values(random, n, arms, effect, draw))
        for arm in list(table)[1:] if lacking else ():
            table[arm] = {key: value for key, value in table[arm].items() if random.random() >= lacking}
        called = {arm: comparison.verdict for arm, comparison in compare(table).items()}
        if effect:
            found += called.pop(TRUE) is Verdict.BETTER
        false += any(verdict in CLAIMS for verdict in called.values())
    result = {FALSE: false / repeats}
    return {FOUND: found / repeats, **result} if effect else result


def intervals(repeats: int, seed: int, *, n: int, arms: int, draw: Draw = normal) -> dict[str, float]:
    """How often the intervals hold the true difference, 0: each arm's own, and all simultaneous ones at once."""
    random = np.random.default_rng(seed)
    own = together = 0
    for _ in range(repeats):
        found = list(compare(by_seed(values(random, n, arms, 0.0, draw))).values())
        own += sum(_holds(comparison.low, comparison.high) for comparison in found)
        together += all(_holds(comparison.simultaneous_low, comparison.simultaneous_high) for comparison in found)
    return {"own interval holds": own / repeats / arms, "all simultaneous intervals hold": together / repeats}


def _holds(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low <= 0 <= high


def skewed(repeats: int, seed: int, *, n: int, arms: int, draw: Draw) -> dict[str, float]:
    """False claims where deltas are skewed, and how many of them the report remarks on."""
    random = np.random.default_rng(seed)
    false = remarked = 0
    for _ in range(repeats):
        found = compare(by_seed(values(random, n, arms, 0.0, draw)))
        claimed = [place for place, comparison in enumerate(found.values()) if comparison.verdict in CLAIMS]
        false += bool(claimed)
        remarked += bool(claimed) and any(
            arm in claimed and change is not Change.CLAIM_NEW for arm, _, change in rests_on(_matrix(found))
        )
    own = intervals(max(1, repeats // 4), seed, n=n, arms=arms, draw=draw)["own interval holds"]
    return {
        FALSE: false / repeats,
        "of these, with a note on skew": remarked / max(1, false),
        "own interval holds": own,
    }


def _matrix(found: Mapping[str, Comparison]) -> np.ndarray:
    return np.array([list(comparison.deltas.values()) for comparison in found.values()]).T


def equivalence(repeats: int, seed: int, *, n: int, margin: float, effect: float) -> dict[str, float]:
    """How often an arm is called equivalent; margin and effect in standard deviations of the deltas."""
    random = np.random.default_rng(seed)
    found = 0
    for _ in range(repeats):
        table = by_seed(values(random, n, 1, effect))
        found += compare(table, margin=margin * RUN_TO_DELTA)[TRUE].verdict is Verdict.EQUIVALENT
    return {"called equivalent": found / repeats}
