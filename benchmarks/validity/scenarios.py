"""What is simulated: every scenario with its group, its setting in words, and what the method should keep to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from benchmarks.validity import crossed, families, stopping
from benchmarks.validity.designs import (
    FALSE,
    FOUND,
    collapses,
    heavy_tails,
    lognormal,
    normal,
    one_loud_arm,
    quiet_arms,
    rounded,
    skewed_arms,
)

GROUPS = {
    "null": "No true difference",
    "effect": "One true effect",
    "stopping": "Optional stopping",
    "missing": "Missing seeds",
    "intervals": "Intervals and equivalence",
    "crossed": "Seeds and test images",
    "skewed": "Skewed deltas, where the method errs",
}
NOISE = {
    "normal": normal,
    "heavy tails (t, 3 degrees of freedom)": heavy_tails,
    "lognormal, alike in all arms": lognormal,
    "rounded, many ties": rounded,
    "one arm spreads three times as much": one_loud_arm,
    "all arms but one spread a fifth as much": quiet_arms,
}
MOST_FALSE = 0.05


@dataclass(frozen=True)
class Scenario:
    """``run(repeats, seed)`` gives the measures by name. bounds: the ends between which a measure must be."""

    group: str
    setting: str
    repeats: int
    run: Callable[..., dict[str, float]]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def at_most(measure: str, most: float) -> dict[str, tuple[float, float]]:
    return {measure: (0.0, most)}


def at_least(measure: str, least: float) -> dict[str, tuple[float, float]]:
    return {measure: (least, 1.0)}


def scenarios() -> list[Scenario]:
    return [*_null(), *_effect(), *_stopping(), *_missing(), *_intervals(), *_crossed(), *_skewed()]


def _null() -> list[Scenario]:
    bound = at_most(FALSE, MOST_FALSE)
    return [
        Scenario(
            "null",
            f"{noise}; {n} seeds, {arms} arms",
            4000,
            partial(families.verdicts, n=n, arms=arms, draw=draw),
            bound,
        )
        for noise, draw in NOISE.items()
        for n, arms in ((6, 11), (8, 4))
    ]


def _effect() -> list[Scenario]:
    made = []
    for n, arms, effect, least in ((6, 11, 2.5, 0.9), (8, 4, 2.0, 0.0), (8, 4, 1.5, 0.0), (16, 3, 1.0, 0.0)):
        bounds = at_most(FALSE, MOST_FALSE) | (at_least(FOUND, least) if least else {})
        run = partial(families.verdicts, n=n, arms=arms, effect=effect)
        made.append(Scenario("effect", f"effect {effect:g} sd; {n} seeds, {arms} arms", 1000, run, bounds))
    return made


def _stopping() -> list[Scenario]:
    runs, bound = "runs, of those of the last look", at_most(FALSE, MOST_FALSE)
    peeking = [
        Scenario(
            "stopping",
            f"without a plan: a look at every number of seeds from 6 to 16, {arms} arm{'s' * (arms > 1)}, no effect",
            1000,
            partial(stopping.peeking, arms=arms, first=6, last=16),
        )
        for arms in (1, 4)
    ]
    looks = [
        (3, 0.0, "normal", bound),
        (11, 0.0, "normal", bound),
        (3, 0.0, "heavy tails (t, 3 degrees of freedom)", bound),
        (3, 0.0, "one arm spreads three times as much", bound),
        (3, 2.5, "normal", bound | at_most(runs, 2 / 3)),
        (3, 1.5, "normal", bound),
        (3, 1.0, "normal", bound),
    ]
    return peeking + [
        Scenario(
            "stopping",
            f"seeds=auto: {noise}; {arms} arms, {f'effect {effect:g} sd' if effect else 'no effect'}",
            2000,
            partial(stopping.by_looks, arms=arms, effect=effect, draw=NOISE[noise]),
            bounds,
        )
        for arms, effect, noise, bounds in looks
    ]


def _missing() -> list[Scenario]:
    bound = at_most(FALSE, MOST_FALSE)
    return [
        Scenario(
            "missing",
            f"a tenth of the runs is missing; 10 seeds, 4 arms, {f'effect {effect:g} sd' if effect else 'no effect'}",
            1500,
            partial(families.verdicts, n=10, arms=4, effect=effect, lacking=0.1),
            bound,
        )
        for effect in (0.0, 2.0)
    ]


def _intervals() -> list[Scenario]:
    made = [
        Scenario(
            "intervals",
            f"{noise}; 8 seeds, 4 arms",
            1000,
            partial(families.intervals, n=8, arms=4, draw=NOISE[noise]),
            at_least("all simultaneous intervals hold", 0.94),
        )
        for noise in ("normal", "heavy tails (t, 3 degrees of freedom)")
    ]
    for effect, bounds in ((1.0, at_most("called equivalent", MOST_FALSE + 0.01)), (0.0, {})):
        run = partial(families.equivalence, n=12, margin=1.0, effect=effect)
        text = "as large as the margin" if effect else "of 0"
        made.append(Scenario("intervals", f"margin 1 sd, true difference {text}; 12 seeds", 2000, run, bounds))
    return made


def _crossed() -> list[Scenario]:
    made = [
        Scenario(
            "crossed",
            f"the images are {100 * share:.0f} % of the variance; {n} seeds, {images} images",
            2000,
            partial(crossed.coverage, n=n, images=images, share=share),
            {"population interval holds": (0.93, 0.99)},
        )
        for n, images in ((4, 72), (8, 72), (8, 500))
        for share in (0.0, 0.5, 0.9)
    ]
    for of_images, of_seeds in ((0.002, 0.0141), (0.004, 0.005), (0.002, 0.001)):
        run = partial(crossed.false_claims, n=8, images=72, of_seeds=of_seeds, of_images=of_images)
        text = f"no effect, sd {of_images:g} of the images and {of_seeds:g} of the seeds; 8 seeds, 72 images"
        made.append(Scenario("crossed", text, 2000, run, at_most(FALSE, 0.06)))
    return made


def _skewed() -> list[Scenario]:
    made = {
        "a tenth of the arms' runs collapse, means alike": collapses,
        "lognormal arms against a quiet baseline": skewed_arms,
    }
    return [
        Scenario(
            "skewed",
            f"{text}; 8 seeds, {arms} arm{'s' * (arms > 1)}",
            1000,
            partial(families.skewed, n=8, arms=arms, draw=draw),
        )
        for text, draw in made.items()
        for arms in (1, 4)
    ]
