"""Simulated runs whose seeds and test images are crossed: every seed is scored on the same images.

``coverage`` and ``false_claims`` give shares of repeats, by the tool's own functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acmix_exp.report.population import CLAIMS, allows, population_interval
from acmix_exp.report.statistics import compare
from acmix_exp.run.replicates import multiplicities

AT_ONCE = 100  # repeats


@dataclass(frozen=True)
class Design:
    """Differences without effect: standard deviations of a mean over ``images``, in mAP.

    seed: of a run's difference on any one test set. crossed: the share of its variance that another test set would
    change. image: of what a test set adds to the differences of all seeds.
    """

    seeds: int
    images: int
    seed: float
    image: float
    crossed: float = 0.5

    @classmethod
    def of_share(cls, seeds: int, images: int, share: float, crossed: float = 0.5) -> Design:
        """``share``: of the variance of the mean over seeds, due to the test set."""
        return cls(seeds, images, 1.0, (share / (1 - share) / seeds) ** 0.5, crossed)

    def draw(self, random: np.random.Generator, repeats: int) -> np.ndarray:
        """Differences by image, [repeats, seeds, images]."""
        by_image = self.images**0.5
        own = random.normal(0, self.seed * (1 - self.crossed) ** 0.5, (repeats, self.seeds, 1))
        shared = random.normal(0, self.image * by_image, (repeats, 1, self.images))
        crossed = random.normal(0, self.seed * self.crossed**0.5 * by_image, (repeats, self.seeds, self.images))
        return own + shared + crossed


def samples(design: Design, repeats: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each repeat the deltas [seeds], and those on resampled images [seeds, resamples]."""
    random = np.random.default_rng(seed)
    weights = (multiplicities("simulated", "test", design.images) / design.images).T
    for first in range(0, repeats, AT_ONCE):
        drawn = design.draw(random, min(AT_ONCE, repeats - first))
        yield from zip(drawn.mean(-1), drawn @ weights, strict=True)


def coverage(design: Design, repeats: int = 2000, seed: int = 0) -> float:
    """How often the population interval holds the true difference, which is 0."""
    found = (
        population_interval(deltas, resampled, design.images) for deltas, resampled in samples(design, repeats, seed)
    )
    return float(np.mean([interval.low <= 0 <= interval.high for interval in found]))


def false_claims(design: Design, repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """How often one arm is called better or worse: by seeds alone, and where the population interval allows it."""
    alone, guarded = 0, 0
    for deltas, resampled in samples(design, repeats, seed):
        by_seed = dict(enumerate(deltas.tolist()))
        word = compare({"baseline": dict.fromkeys(by_seed, 0.0), "arm": by_seed})["arm"].verdict
        if word in CLAIMS:
            alone += 1
            guarded += allows(word, population_interval(deltas, resampled, design.images))
    return alone / repeats, guarded / repeats
