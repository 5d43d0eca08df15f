"""Two things on the same images against each other: their scores, the difference with its intervals, the verdict.

With several seeds a side it is decided as in a table: by :func:`acmix_exp.report.statistics.compare` over seeds, and
the interval for another seed and another test set must allow it (:mod:`acmix_exp.report.population`). With one
checkpoint a side the bootstrap over test images decides, which knows nothing of other trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from acmix_exp.outcomes import MOST_PROBABLE, SIZES, ClassOutcomes, Outcomes
from acmix_exp.report.notes import count
from acmix_exp.report.object_sizes import average_precision_by_size, mean
from acmix_exp.report.population import allows, population_interval
from acmix_exp.report.records import Population
from acmix_exp.report.sentences import DELTA, format_number
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.statistics import Comparison, Verdict, compare, verdict_with_diverged
from acmix_exp.run.replicates import class_average_precision, headline_on, mean_average_precision


class Finding(StrEnum):
    """What is found on a against b."""

    BETTER = "better"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    WORSE = "worse"


EXIT_CODES = {Finding.BETTER: 0, Finding.EQUIVALENT: 10, Finding.UNDECIDED: 11, Finding.WORSE: 12}
# Verdicts that are not here leave it undecided.
OF_VERDICTS = {Verdict.BETTER: Finding.BETTER, Verdict.EQUIVALENT: Finding.EQUIVALENT, Verdict.WORSE: Finding.WORSE}
PHRASES = {
    Finding.BETTER: "a is better than b",
    Finding.EQUIVALENT: "a and b are equivalent within {margin:g}",
    Finding.UNDECIDED: "undecided",
    Finding.WORSE: "a is worse than b",
}
POPULATION = ("low", "high", "image_share", "crossed_low", "crossed_high")
ONE_EACH = (
    "One checkpoint a side: only the noise of the test images is covered. Another training of either may turn out "
    "otherwise; lists of several seeds cover that."
)


@dataclass(frozen=True)
class Score:
    """One checkpoint, run or file on the images of the split.

    headline, second: mAP50-95 and mAP50 of ultralytics, AP and AP50 of COCO, or top-1 and top-5. replicates: float64
    [R], the headline on resampled images, the same ones for all scores that are compared. per_class: as the headline.
    by_size: AP of COCO by size, where a class has a box of it; None if it is not known, or there are no boxes.
    """

    headline: float
    second: float
    replicates: np.ndarray
    per_class: dict[str, float]
    by_size: dict[str, float] | None


@dataclass(frozen=True)
class Part:
    """AP of the boxes of one size or class, the mean over seeds."""

    name: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.a - self.b


@dataclass(frozen=True)
class Judgement:
    """a against b over ``seeds`` pairs. The intervals are those of the difference, 95 % each.

    images_low, images_high: over resampled test images, the trainings fixed. population: for another seed and another
    test set. excludes: the smallest margin within which the difference is shown to be. comparison: over seeds; None
    with one pair. here: what holds on these test images only; empty if nothing does.
    """

    finding: Finding
    metric: str
    seeds: list[int]
    a: float
    b: float
    images_low: float
    images_high: float
    excludes: float | None
    margin: float | None
    comparison: Comparison | None
    population: Population
    here: str
    sizes: list[Part] | None
    classes: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def difference(self) -> float:
        return self.a - self.b


def score(
    outcomes: Outcomes | ClassOutcomes, weights: np.ndarray | None, *, coco: bool, replicates: np.ndarray | None = None
) -> Score:
    """The score of one thing. weights: [R, I], how often each replicate has each image; not needed with ``replicates``.

    coco: AP as pycocotools computes it, else as ultralytics does.
    """
    if isinstance(outcomes, ClassOutcomes):
        return _of_classes(outcomes, weights, replicates)
    once = np.ones((1, len(outcomes.images)), dtype=np.int64)
    (by_threshold,) = mean_average_precision(outcomes, once, coco=coco)
    if replicates is None:
        assert weights is not None
        replicates = mean_average_precision(outcomes, weights, coco=coco).mean(1)
    by_size = average_precision_by_size(outcomes)
    return Score(
        headline=float(by_threshold.mean()),
        second=float(by_threshold[0]),
        replicates=replicates,
        per_class={
            str(outcomes.classes[label]): float(class_average_precision(outcomes, int(label), once, coco=coco).mean())
            for label in np.flatnonzero(outcomes.targets.any(0))
        },
        by_size=None
        if by_size is None
        else {name: value for name in SIZES if (value := mean(by_size[name])) is not None},
    )


def _of_classes(outcomes: ClassOutcomes, weights: np.ndarray | None, replicates: np.ndarray | None) -> Score:
    if replicates is None:
        assert weights is not None
        replicates = headline_on(outcomes, weights)
    hit, target = outcomes.hits(1), outcomes.target
    return Score(
        headline=float(hit.mean()),
        second=float(outcomes.hits(MOST_PROBABLE).mean()),
        replicates=replicates,
        per_class={str(outcomes.classes[i]): float(hit[target == i].mean()) for i in np.unique(target)},
        by_size=None,
    )


def judge(
    a: Mapping[int, Score],
    b: Mapping[int, Score],
    images: int,
    *,
    margin: float | None = None,
    coco: bool = False,
    metric: str = "mAP50-95",
    diverged: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Judgement:
    """Judge a against b, given by seed; the seeds that both have count. With one of each their seeds do not matter.

    images: how many test images there are. margin: differences up to it count as none. diverged: the seeds of a, and of
    b, whose training diverged. Raises ValueError if they have no seed in common.
    """
    if len(a) == len(b) == 1:
        b = dict(zip(a, b.values(), strict=True))
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError("no seed in common")
    differences = np.mean([a[seed].replicates - b[seed].replicates for seed in seeds], axis=0)
    low, high = np.quantile(differences, [LEVEL / 2, 1 - LEVEL / 2])
    first, second = ([side[seed] for seed in seeds] for side in (a, b))
    means = [float(np.mean([one.headline for one in side])) for side in (first, second)]
    notes = [_unpaired(a, seeds, "a"), _unpaired(b, seeds, "b")]
    if all(np.array_equal(one.replicates, other.replicates) for one, other in zip(first, second, strict=True)):
        notes.append("a and b have the same score on every resample of the images")
    comparison, population, here = None, Population(), ""
    excludes: float | None = float(np.abs(np.quantile(differences, [LEVEL, 1 - LEVEL])).max())
    if len(seeds) == 1:
        finding = _of_images(float(low), float(high), excludes or 0.0, margin)
        notes.insert(0, ONE_EACH)
    else:
        comparison, finding = _of_seeds(a, b, margin, diverged)
        deltas = np.array([comparison.deltas[seed] for seed in seeds])
        by_seed = np.stack([a[seed].replicates - b[seed].replicates for seed in seeds])
        population = population_interval(deltas, by_seed, images)
        excludes = population.excludes
        if finding is not Finding.UNDECIDED and not _allowed(finding, population, margin):
            finding, here = (
                Finding.UNDECIDED,
                f"{PHRASES[finding].format(margin=margin or 0)} on these test images only",
            )
    for side, lost in zip("ab", diverged, strict=True):
        if lost:
            notes.append(f"{count(len(lost), 'run')} of {side} diverged; the numbers are of those that finished")
    known = [one.by_size for one in (*first, *second)]
    return Judgement(
        finding=finding,
        metric="AP" if coco else metric,
        seeds=seeds,
        a=means[0],
        b=means[1],
        images_low=float(low),
        images_high=float(high),
        excludes=excludes,
        margin=margin,
        comparison=comparison,
        population=population,
        here=here,
        sizes=None
        if None in known
        else _parts([one.by_size or {} for one in first], [one.by_size or {} for one in second]),
        classes=_parts([one.per_class for one in first], [one.per_class for one in second]),
        notes=[note for note in notes if note],
    )


def _unpaired(side: Mapping[int, Score], seeds: Sequence[int], name: str) -> str:
    left = sorted(side.keys() - set(seeds))
    return f"seed {', '.join(map(str, left))} of {name} has no partner and is left out" if left else ""


def _of_images(low: float, high: float, excludes: float, margin: float | None) -> Finding:
    """Equivalence comes first, as with seeds: a difference within the margin counts as none."""
    if margin is not None and excludes <= margin:
        return Finding.EQUIVALENT
    if low > 0:
        return Finding.BETTER
    return Finding.WORSE if high < 0 else Finding.UNDECIDED


def _allowed(finding: Finding, population: Population, margin: float | None) -> bool:
    """Whether what is found by seeds holds for other test images, too."""
    if finding is Finding.EQUIVALENT:
        return population.excludes is None or margin is None or population.excludes <= margin
    return allows(Verdict.BETTER if finding is Finding.BETTER else Verdict.WORSE, population)


def _of_seeds(
    a: Mapping[int, Score], b: Mapping[int, Score], margin: float | None, diverged: tuple[Sequence[int], Sequence[int]]
) -> tuple[Comparison, Finding]:
    values = {name: {seed: one.headline for seed, one in side.items()} for name, side in (("b", b), ("a", a))}
    found = compare(values, reference="b", margin=margin)["a"]
    verdict = found.verdict
    if any(diverged):
        at_zero = {
            name: by_seed | dict.fromkeys(lost, 0.0)
            for (name, by_seed), lost in zip(values.items(), reversed(diverged), strict=True)
        }
        other = compare(at_zero, reference="b", margin=margin)["a"].verdict
        verdict = verdict_with_diverged(verdict, other, own=bool(diverged[0]))
    return found, OF_VERDICTS.get(verdict, Finding.UNDECIDED) if verdict else Finding.UNDECIDED


def _parts(first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]]) -> list[Part]:
    names = [name for name in first[0] if all(name in one for one in (*first, *second))]
    return [Part(name, *(float(np.mean([one[name] for one in side])) for side in (first, second))) for name in names]


def sentence(found: Judgement) -> str:
    """The finding in one line."""
    text = f"{PHRASES[found.finding].format(margin=found.margin or 0)}: {_signed(found.difference)} {found.metric}"
    over, both = found.comparison, found.population
    if over is None:
        text += f", 95 % interval over test images {_interval(found.images_low, found.images_high)}"
    else:
        text += f", 95 % interval over {count(len(found.seeds), 'seed')} {_interval(over.low, over.high)}"
        text += f", for other seeds and test images {_interval(both.low, both.high)}"
    if found.excludes is not None:
        text += f"; differences beyond ±{found.excludes:.3f} are excluded"
    if found.here:
        text += f"; {found.here}"
    if over is not None and over.verdict is Verdict.TOO_FEW_SEEDS:
        text += f"; {over.seeds_needed} seeds a side are needed for better or worse"
    return text


def _interval(low: float | None, high: float | None) -> str:
    return f"{_signed(low)} to {_signed(high)}"


def _signed(value: float | None) -> str:
    return format_number(value, DELTA)


def as_json(found: Judgement) -> dict[str, Any]:
    """The judgement as plain data; a number that is not known is None."""
    over = found.comparison
    seeds = (
        None
        if over is None
        else {
            "n": over.n,
            "deltas": {str(seed): value for seed, value in over.deltas.items()},
            **{key: getattr(over, key) for key in ("low", "high", "simultaneous_low", "simultaneous_high")},
            **{key: getattr(over, key) for key in ("p", "p_adjusted", "p_floor", "seeds_needed", "verdict")},
        }
    )
    return {
        "verdict": str(found.finding),
        "exit_code": EXIT_CODES[found.finding],
        "sentence": sentence(found),
        "metric": found.metric,
        "a": found.a,
        "b": found.b,
        "difference": found.difference,
        "images": {"low": found.images_low, "high": found.images_high},
        "seeds": seeds,
        "population": None if over is None else {key: getattr(found.population, key) for key in POPULATION},
        "on_these_images_only": found.here or None,
        "covers": ["test images"] + ["seeds"] * (over is not None),
        "excludes": found.excludes,
        "margin": found.margin,
        "by_size": None if found.sizes is None else _table(found.sizes),
        "by_class": _table(found.classes),
        "notes": found.notes,
    }


def _table(parts: Sequence[Part]) -> dict[str, dict[str, float]]:
    return {part.name: {"a": part.a, "b": part.b, "difference": part.difference} for part in parts}
