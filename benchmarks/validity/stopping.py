"""Ablations that are stopped early: by seeds=auto, and by someone who looks at the table after every seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acmix_exp.config import SeedsPlanConfig
from acmix_exp.report.sequential import Arm, Looks, Progress, decide
from acmix_exp.report.statistics import Verdict, compare
from benchmarks.validity.designs import CLAIMS, FALSE, FOUND, Draw, deltas, normal, values

DEFAULT = Looks(tuple(SeedsPlanConfig().looks), tuple(SeedsPlanConfig().shares))


def ablations(
    repeats: int, arms: int, effect: float, looks: Looks, seed: int, draw: Draw = normal
) -> Iterator[Progress[int]]:
    """Simulated ablations under seeds=auto; arm 0 has the true effect, in standard deviations of the deltas."""
    random = np.random.default_rng(seed)
    for _ in range(repeats):
        columns = deltas(random, looks.seeds[-1], arms, effect, draw).T
        yield decide({place: Arm(dict(enumerate(own)), range(len(own))) for place, own in enumerate(columns)}, looks)


def runs_used(progress: Progress[int]) -> int:
    """Of all arms and the baseline, which goes on as long as any arm does."""
    seeds = [decision.seeds for decision in progress.decisions.values()]
    return sum(seeds) + max(seeds)


def false_claim(progress: Progress[int], effect: float) -> bool:
    """Whether an arm without a true effect is called better or worse."""
    return any(found.verdict in CLAIMS for place, found in progress.decisions.items() if place or not effect)


def by_looks(
    repeats: int, seed: int, *, arms: int, effect: float = 0.0, draw: Draw = normal, looks: Looks = DEFAULT
) -> dict[str, float]:
    """seeds=auto with its shipped looks."""
    found = list(ablations(repeats, arms, effect, looks, seed, draw))
    result = {FALSE: float(np.mean([false_claim(progress, effect) for progress in found]))}
    if effect:
        result[FOUND] = float(np.mean([each.decisions[0].verdict is Verdict.BETTER for each in found]))
    most = looks.seeds[-1] * (arms + 1)
    result["runs, of those of the last look"] = float(np.mean([runs_used(progress) for progress in found])) / most
    return result


def peeking(repeats: int, seed: int, *, arms: int, first: int, last: int) -> dict[str, float]:
    """Without any true effect: claims at ``first`` seeds, and at any number from there to ``last``, as someone finds
    them who looks at the table of every number of seeds and stops at the first claim."""
    random = np.random.default_rng(seed)
    at_first = at_any = 0
    for _ in range(repeats):
        table = values(random, last, arms, 0.0)
        claims = [
            any(
                found.verdict in CLAIMS
                for found in compare({arm: dict(enumerate(own[:n])) for arm, own in table.items()}).values()
            )
            for n in range(first, last + 1)
        ]
        at_first += claims[0]
        at_any += any(claims)
    return {FALSE: at_any / repeats, f"of these, already at {first} seeds": at_first / max(1, at_any)}
