"""Seeds and test images together: every trained network is scored on the same images, which are a sample too."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from acmix_exp.report.population import allows, population_interval
from acmix_exp.report.statistics import compare_family
from benchmarks.validity.designs import CLAIMS, FALSE, Array

RESAMPLES = 500


@lru_cache(maxsize=4)
def weights(images: int) -> Array:
    """``[RESAMPLES, images]``, how often each image counts in a resample, over the number of images."""
    drawn = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), RESAMPLES)
    return np.asarray(drawn / images)


def scores(random: np.random.Generator, n: int, images: int, of_seeds: float, of_images: float, both: float) -> Array:
    """Deltas ``[n, images]``. The standard deviations are those that each part has in the mean of one seed over all
    images: of the seed, of the sample of images, and of their crossing."""
    scale = images**0.5
    seeds = random.normal(0, of_seeds, (n, 1))
    return np.asarray(seeds + random.normal(0, of_images * scale, images) + random.normal(0, both * scale, (n, images)))


def coverage(repeats: int, seed: int, *, n: int, images: int, share: float) -> dict[str, float]:
    """How often the population interval holds the true difference, and how often that of the seeds alone does.

    share: that of the images in the variance of the mean over the seeds; half of the rest is the crossing.
    """
    random = np.random.default_rng(seed)
    of_seeds = both = (0.5 * (1 - share) * n) ** 0.5
    population = seeds = 0
    for _ in range(repeats):
        found = scores(random, n, images, of_seeds, share**0.5, both)
        deltas = found.mean(1)
        interval = population_interval(deltas, found @ weights(images).T, images)
        (alone,) = compare_family([dict(enumerate(deltas))])
        population += interval.low is not None and interval.high is not None and interval.low <= 0 <= interval.high
        seeds += alone.low is not None and alone.high is not None and alone.low <= 0 <= alone.high
    return {"population interval holds": population / repeats, "interval over seeds alone holds": seeds / repeats}


def false_claims(
    repeats: int, seed: int, *, n: int, images: int, of_seeds: float, of_images: float
) -> dict[str, float]:
    """One arm without a true difference: claims by the seeds alone, and those that the population interval leaves."""
    random = np.random.default_rng(seed)
    by_seeds = guarded = 0
    for _ in range(repeats):
        found = scores(random, n, images, of_seeds, of_images, 0.0)
        deltas = found.mean(1)
        (comparison,) = compare_family([dict(enumerate(deltas))])
        if comparison.verdict in CLAIMS:
            by_seeds += 1
            interval = population_interval(deltas, found @ weights(images).T, images)
            guarded += allows(comparison.verdict, interval)
    return {"false claims, by seeds alone": by_seeds / repeats, FALSE: guarded / repeats}
