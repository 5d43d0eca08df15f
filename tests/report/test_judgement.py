"""Two things against each other: what is found by one checkpoint a side, and what by several seeds."""

from __future__ import annotations

import numpy as np
import pytest

from acmix_exp.report.judgement import EXIT_CODES, Finding, Score, as_json, judge, score, sentence
from acmix_exp.run.replicates import mean_average_precision, multiplicities
from tests.report.test_object_sizes import made_up, recorded

IMAGES = 100


def one(value: float, noise: float = 0.001, seed: int = 0, **more: object) -> Score:
    """A score whose replicates vary by ``noise``."""
    replicates = value + np.random.default_rng(seed).normal(0, noise, 1000)
    by_class = {"cat": value, "dog": value / 2}
    return Score(value, value + 0.2, replicates, **{"per_class": by_class, "by_size": {"small": value}, **more})


def several(mean: float, spread: float, seeds: int = 8, first: int = 0, noise: float = 0.001) -> dict[int, Score]:
    values = mean + spread * np.random.default_rng(first + 50).permutation(np.linspace(-1, 1, seeds))
    return {seed: one(value, noise, 100 * first + seed) for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    ("a", "b", "noise", "margin", "finding"),
    [
        (0.5, 0.4, 0.001, None, Finding.BETTER),
        (0.4, 0.5, 0.001, None, Finding.WORSE),
        (0.5, 0.49, 0.02, None, Finding.UNDECIDED),
        (0.5, 0.5, 0.001, 0.01, Finding.EQUIVALENT),
        (0.505, 0.5, 0.001, 0.01, Finding.EQUIVALENT),  # a difference within the margin counts as none
        (0.5, 0.4, 0.001, 0.01, Finding.BETTER),
        (0.5, 0.49, 0.02, 0.01, Finding.UNDECIDED),
    ],
)
def test_one_checkpoint_a_side_is_judged_over_test_images(
    a: float, b: float, noise: float, margin: float | None, finding: Finding
) -> None:
    found = judge({3: one(a, noise)}, {7: one(b, noise, 1)}, IMAGES, margin=margin)
    assert found.finding is finding
    assert found.images_low < a - b < found.images_high
    assert found.comparison is None
    assert found.notes[0].startswith("One checkpoint a side: only the noise of the test images is covered.")
    content = as_json(found)
    assert content["verdict"] == finding
    assert content["exit_code"] == EXIT_CODES[finding]
    assert content["covers"] == ["test images"]
    assert content["by_class"]["dog"]["difference"] == pytest.approx((a - b) / 2)
    assert content["by_size"] == {"small": {"a": a, "b": b, "difference": pytest.approx(a - b)}}


def test_exit_codes() -> None:
    assert {str(finding): code for finding, code in EXIT_CODES.items()} == {
        "better": 0,
        "equivalent": 10,
        "undecided": 11,
        "worse": 12,
    }


def test_seeds_are_judged_as_in_a_table() -> None:
    better = judge(several(0.5, 0.01), several(0.4, 0.01, first=1), IMAGES)
    assert better.finding is Finding.BETTER
    assert better.comparison.n == 8
    assert better.population.low > 0
    assert sentence(better).startswith("a is better than b: +0.100 mAP50-95, 95 % interval over 8 seeds +0.09")
    assert as_json(better)["covers"] == ["test images", "seeds"]
    assert judge(several(0.4, 0.01), several(0.5, 0.01, first=1), IMAGES).finding is Finding.WORSE
    same = judge(several(0.4, 0.01), several(0.4, 0.01, first=1), IMAGES, margin=0.05)
    assert same.finding is Finding.EQUIVALENT
    assert "a and b are equivalent within 0.05" in sentence(same)


def test_three_seeds_cannot_decide_and_that_is_said() -> None:
    found = judge(several(0.5, 0.01, 3), several(0.4, 0.01, 3, 1), IMAGES)
    assert found.finding is Finding.UNDECIDED
    assert sentence(found).endswith("; 6 seeds a side are needed for better or worse")


@pytest.mark.parametrize("margin", [None, 0.03])
def test_what_other_test_images_may_turn_is_undecided(margin: float | None) -> None:
    """The seeds agree, and the test set is small: the finding is about these images."""
    sides = []
    for first, mean in enumerate((0.42 if margin is None else 0.4, 0.4)):
        scores = several(mean, 0.0005, first=first)
        sides.append({seed: one(each.headline, 0.02, first) for seed, each in scores.items()})  # all by the same images
    found = judge(*sides, IMAGES, margin=margin)
    assert found.finding is Finding.UNDECIDED
    words = "a is better than b" if margin is None else "a and b are equivalent within 0.03"
    assert found.here == f"{words} on these test images only"
    assert found.here in sentence(found)
    assert as_json(found)["on_these_images_only"] == found.here


def test_seeds_without_a_partner_are_named() -> None:
    a, b = several(0.5, 0.01), several(0.4, 0.01, first=1)
    del b[5]
    found = judge(a, b, IMAGES)
    assert found.seeds == [0, 1, 2, 3, 4, 6, 7]
    assert "seed 5 of a has no partner and is left out" in found.notes
    with pytest.raises(ValueError, match="no seed in common"):
        judge({0: one(0.5), 1: one(0.5)}, {2: one(0.4), 3: one(0.4)}, IMAGES)


def test_a_diverged_run_of_a_takes_its_claim_away() -> None:
    a, b = several(0.5, 0.01), several(0.4, 0.01, first=1)
    del a[5]
    found = judge(a, b, IMAGES, diverged=([5], []))
    assert found.finding is Finding.UNDECIDED
    assert "1 run of a diverged; the numbers are of those that finished" in found.notes
    worse = judge(b | {5: one(0.4)}, several(0.5, 0.01), IMAGES, diverged=([], []))
    assert worse.finding is Finding.WORSE


def test_equal_scores_are_named() -> None:
    found = judge({0: one(0.5)}, {0: one(0.5)}, IMAGES)
    assert found.finding is Finding.UNDECIDED
    assert found.notes[-1] == "a and b have the same score on every resample of the images"
    assert (found.images_low, found.images_high) == (0, 0)
    again = several(0.5, 0.01)
    assert judge(again, dict(again), IMAGES).finding is Finding.UNDECIDED


def test_sizes_that_one_side_lacks_are_left_out() -> None:
    unknown = judge({0: one(0.5, by_size=None)}, {0: one(0.4)}, IMAGES)
    assert unknown.sizes is None
    assert as_json(unknown)["by_size"] is None


@pytest.mark.parametrize("coco", [False, True])
def test_a_score_is_that_of_its_outcomes(coco: bool) -> None:
    outcomes = recorded(made_up(3))
    weights = multiplicities("f", "val", len(outcomes.images), 50)
    found = score(outcomes, weights, coco=coco)
    once = np.ones((1, len(outcomes.images)), int)
    assert found.headline == mean_average_precision(outcomes, once, coco=coco).mean()
    assert np.mean(list(found.per_class.values())) == pytest.approx(found.headline)
    assert np.array_equal(found.replicates, mean_average_precision(outcomes, weights, coco=coco).mean(1))
    assert set(found.by_size) == {"small", "medium", "large"}
