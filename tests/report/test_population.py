"""The interval for another seed and another test set, and the claims that it does not allow."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from acmix_exp.report import sentences
from acmix_exp.report.population import crossed_bootstrap, population_interval
from acmix_exp.report.records import Population
from acmix_exp.report.statistics import Verdict
from tests.report.builders import summary
from tests.report.crossed_design import Design, coverage, false_claims, samples
from tests.report.rows import row, table

SEEDS = range(8)


def rows(table):
    return {row["arm"]: row for row in table["rows"]}


def test_the_formula():
    random = np.random.default_rng(0)
    deltas, replicates = random.normal(0.01, 0.005, 4), random.normal(0.01, 0.003, (4, 50)) + random.normal(0, 0.01, 50)
    u, v = np.var(replicates.mean(0), ddof=1), np.mean([np.var(values, ddof=1) for values in replicates])
    of_seeds, of_images = np.var(deltas, ddof=1) / 4, (u - (v - u) / (1 - 1 / 4) / 4) * 72 / 71
    freedom = (of_seeds + of_images) ** 2 / (of_seeds**2 / 3 + of_images**2 / 71)
    found = population_interval(deltas, replicates, 72)
    half = stats.t.ppf(0.975, freedom) * (of_seeds + of_images) ** 0.5
    assert (found.low, found.high) == pytest.approx((deltas.mean() - half, deltas.mean() + half))
    assert found.image_share == pytest.approx(of_images / (of_seeds + of_images))
    half = stats.t.ppf(0.95, freedom) * (of_seeds + of_images) ** 0.5
    assert found.excludes == pytest.approx(max(abs(deltas.mean() - half), abs(deltas.mean() + half)))


def test_without_noise_of_images_it_is_the_t_interval_over_seeds():
    deltas = np.array([0.01, 0.02, -0.01, 0.03])
    found = population_interval(deltas, np.tile(deltas[:, None], 100), 50)
    assert found.image_share == pytest.approx(0, abs=1e-12)
    low, high = stats.t.interval(0.95, 3, deltas.mean(), stats.sem(deltas))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_without_noise_of_seeds_it_is_that_of_images():
    shared = np.random.default_rng(0).normal(0.01, 0.004, 1000)
    found = population_interval(np.full(8, 0.01), np.tile(shared, (8, 1)), 10**6)
    assert found.image_share == 1
    assert found.high - 0.01 == pytest.approx(1.96 * 0.004, rel=0.05)


def test_no_noise_and_one_seed():
    found = population_interval(np.full(3, 0.01), np.full((3, 10), 0.01), 5)
    assert (found.low, found.high, found.excludes) == pytest.approx((0.01, 0.01, 0.01))
    assert found.image_share is None
    assert population_interval(np.array([0.01]), np.zeros((1, 10)), 5) == Population()
    assert population_interval(np.array([0.01, 0.02]), np.zeros((2, 10)), 1).image_share == 0


def test_the_crossed_bootstrap_agrees_where_seeds_are_many():
    """Without seed x image, which it counts three times."""
    for image in (0.0, 0.1, 0.3):
        deltas, replicates = next(samples(Design(40, 200, seed=1.0, image=image, crossed=0.0), 1, seed=1))
        found = population_interval(deltas, replicates, 200)
        low, high = crossed_bootstrap(replicates)
        assert (found.crossed_low, found.crossed_high) == (low, high)
        assert high - low == pytest.approx(found.high - found.low, rel=0.12)


DESIGNS = [(n, images, share) for n in (4, 8) for images in (72, 500) for share in (0, 0.5, 0.9)]


@pytest.mark.parametrize(("n", "images", "share"), [(4, 72, 0.5), (8, 72, 0.9)])
def test_coverage(n, images, share):
    assert 0.91 <= coverage(Design.of_share(n, images, share), 300) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("n", "images", "share"), DESIGNS)
def test_coverage_is_95_percent(n, images, share):
    assert 0.93 <= coverage(Design.of_share(n, images, share)) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("crossed", [0.0, 1.0])
@pytest.mark.parametrize(("n", "images", "share"), [(4, 72, 0.9), (8, 500, 0.5)])
def test_coverage_whatever_the_part_of_seed_and_image(n, images, share, crossed):
    assert 0.93 <= coverage(Design.of_share(n, images, share, crossed)) <= 0.97


def test_false_claims():
    alone, guarded = false_claims(Design(8, 72, seed=0.001, image=0.002), 200, seed=1)
    assert alone > 0.5
    assert guarded < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("image", "seed", "before"), [(0.002, 0.0141, 0.04), (0.004, 0.005, 0.3), (0.002, 0.001, 0.6)])
def test_false_claims_are_at_most_6_percent(image, seed, before):
    """As on BCCD; with quiet seeds on a small test set; with very quiet ones, as in fine-tuning."""
    alone, guarded = false_claims(Design(8, 72, seed, image))
    assert alone > before
    assert guarded <= 0.06


def gain_on(images, of):
    return np.arange(of) < images, np.zeros(of, bool)


def test_a_claim_that_holds_on_other_images(folder, scored):
    for seed in SEEDS:
        for arm, hits in zip(("mixed", "baseline"), gain_on(20, 40), strict=True):
            scored(arm, seed, hits)
    (shown,) = summary(folder)
    mixed = rows(shown)["mixed"]
    assert (mixed["verdict"], mixed["seeds_verdict"]) == ("better", None)
    assert 0 < mixed["population_low"] < mixed["delta_mean"] < mixed["population_high"]
    assert mixed["image_share"] == 1
    assert mixed["crossed_low"] > 0
    text = (folder / "summary.csv").read_text().splitlines()
    assert {"population_low", "population_high"} <= set(text[0].split(","))


def test_no_note_without_a_claim(folder, add):
    for seed in SEEDS:
        add("baseline", seed, 0.3)
        add("mixed", seed, 0.3 + 0.01 * (-1) ** seed)
    (shown,) = summary(folder)
    assert not any("by seeds alone" in note for note in shown["notes"])


def test_only_a_claim_is_limited_and_the_sentence_says_to_what():
    plain = row("mixed", 0.3, Verdict.NO_DIFFERENCE)
    limited = replace(plain, seeds_verdict=Verdict.WORSE, population=Population(-0.02, 0.01))
    assert sentences.verdict(limited) == "worse on these test images only"
    assert sentences.verdict(limited, short=True) == "no difference"
    assert "for another seed and another test set -0.020 to +0.010" in sentences.conclusion(limited, "baseline")
    assert sentences.lead(table([plain, replace(limited, runs=replace(limited.runs, arm="conv"))])) == (
        "No significant difference to baseline: mixed. Worse than baseline on these test images only: conv."
    )
    same = row("mixed", 0.3, Verdict.EQUIVALENT)
    same = replace(same, comparison=replace(same.comparison, margin=0.02))
    for excludes, limit in ((0.015, ""), (0.03, " on these test images only")):
        shown = sentences.verdict(replace(same, population=Population(excludes=excludes)))
        assert shown == f"equivalent within 0.02{limit}"


def test_the_columns_are_in_the_page(folder, scored):
    for seed in SEEDS:
        for arm, hits in zip(("mixed", "baseline"), gain_on(20, 40), strict=True):
            scored(arm, seed, hits)
    summary(folder)
    assert "95 % CI (population)" in (folder / "summary.md").read_text()
    content = json.loads((folder / "summary.json").read_text())
    keys = {"population_low", "population_high", "image_share", "crossed_low", "crossed_high", "seeds_verdict"}
    assert keys <= content["tables"][0]["rows"][0].keys()
