"""The interval of a mean difference for another seed and another test set, and the verdicts that it allows.

The verdict by seeds (:mod:`acmix_exp.report.statistics`) is about the test images of the runs. Seeds and images cross:
every trained network is scored on the same images. The variance of the mean over n seeds has two parts,

    seeds    s^2 / n,                          s^2: variance of the deltas over seeds
    images   V = max(0, u - W / n) N / (N - 1),  W = (v - u) / (1 - 1 / n)

over resampled images, u is the variance of the mean delta, v the mean of the seeds' variances, W therefore the part of
seed x image, which s^2 holds already; N is the number of images. The sum has the t quantile of Satterthwaite's degrees
of freedom. It is the analysis of readers and cases in diagnostic studies with seeds as readers: Obuchowski and
Rockette, Communications in Statistics - Simulation and Computation 24 (1995); degrees of freedom: Hillis, Statistics in
Medicine 26 (2007), here with those of the images, N - 1, too. The check is the crossed ("pigeonhole") bootstrap: Owen,
Annals of Applied Statistics 1 (2007). It is too narrow for few seeds and counts seed x image three times.

For a neighbour: ``population_interval`` takes arrays alone; ``guarded`` is the one call of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from acmix_exp.report import sentences
from acmix_exp.report.image_intervals import replicate_differences
from acmix_exp.report.records import Contrast, Population, Row
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.statistics import Verdict

CLAIMS = (Verdict.BETTER, Verdict.WORSE)
ROUNDING = 1e-12  # deltas that differ by less are equal

Compared = TypeVar("Compared", Row, Contrast)


def population_interval(deltas: np.ndarray, replicates: np.ndarray, images: int) -> Population:
    """The 95 % interval of the mean of ``deltas`` [n]. Empty below two seeds.

    replicates: [n, B], the deltas on B resamples of the ``images`` test images, the same for all seeds.
    """
    n = len(deltas)
    if n < 2:
        return Population()
    mean = float(np.mean(deltas))
    of_seeds = float(np.var(deltas, ddof=1)) / n if np.ptp(deltas) >= ROUNDING else 0.0
    together = float(np.var(replicates.mean(0), ddof=1))
    crossed = (float(np.var(replicates, axis=1, ddof=1).mean()) - together) / (1 - 1 / n)
    of_images = max(0.0, together - crossed / n) * images / max(images - 1, 1)
    total = of_seeds + of_images
    if total < ROUNDING**2:
        return Population(mean, mean, abs(mean), None, *crossed_bootstrap(replicates))
    freedom = total**2 / (of_seeds**2 / (n - 1) + of_images**2 / max(images - 1, 1))
    half, half_of_90 = (_t_quantile(1 - level / 2, freedom) * total**0.5 for level in (LEVEL, 2 * LEVEL))
    share = of_images / total
    return Population(mean - half, mean + half, abs(mean) + half_of_90, share, *crossed_bootstrap(replicates))


def crossed_bootstrap(replicates: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over seeds and images that are both drawn with replacement.

    replicates: [n, B] as for :func:`population_interval`; replicate b gets its own seeds.
    """
    n, size = replicates.shape
    seeds = np.random.RandomState(0).randint(0, n, (size, n))
    low, high = np.quantile(replicates[seeds, np.arange(size)[:, None]].mean(1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _t_quantile(probability: float, freedom: float) -> float:
    from scipy.special import stdtrit  # much faster to import than scipy.stats

    return float(stdtrit(freedom, probability))


def guarded(rows: Sequence[Compared]) -> tuple[list[Compared], list[str]]:
    """The rows with their population interval; better or worse only where that excludes zero, too.

    Elsewhere the word is ``no_difference``, and ``seeds_verdict`` keeps what holds on these test images. Without
    outcomes the verdict by seeds stands, and a note says so.
    """
    found, alone = [], []
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        differences = replicate_differences(row.runs, row.reference)
        population = Population()
        if differences.values is not None and row.comparison.n:
            deltas = np.array([row.comparison.deltas[seed] for seed in differences.seeds])
            population = population_interval(deltas, differences.values, differences.images)
        elif row.comparison.verdict in CLAIMS:
            alone.append(row)
            for run, reason in differences.faults.items():
                reasons.setdefault(reason, {})[run] = None
        found.append(_judged(row, population))
    return found, [sentences.seeds_alone(alone, reasons)] if alone else []


def allows(word: Verdict, population: Population) -> bool:
    """Whether the interval lets better or worse stand; both are treated alike, for each is a claim about the arm."""
    if population.low is None or population.high is None:
        return True
    return population.low > 0 if word is Verdict.BETTER else population.high < 0


def _judged(row: Compared, population: Population) -> Compared:
    row, word = replace(row, population=population), row.comparison.verdict
    if word not in CLAIMS or allows(word, population):
        return row
    return replace(row, seeds_verdict=word, comparison=replace(row.comparison, verdict=Verdict.NO_DIFFERENCE))
