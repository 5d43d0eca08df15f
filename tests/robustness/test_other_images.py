"""Small test sets, and runs that keep no outcomes: what a verdict says of other test images."""

from __future__ import annotations

import pytest

from acmix_exp.report import sentences
from acmix_exp.report.latex import latex
from acmix_exp.report.table import make_tables
from tests.report import conftest
from tests.report.builders import summary
from tests.report.test_population import SEEDS, gain_on, rows
from tests.robustness.cases import case

folder, add, scored = conftest.folder, conftest.add, conftest.scored

SECTION = "Figures and numbers"


@case(
    SECTION,
    have="every seed of an arm is better, all of them by one of twelve test images",
    here='verdict `no_difference`, "better on these test images only"; `seeds_verdict` keeps the verdict by seeds',
)
@pytest.mark.parametrize(
    ("better", "arms"), [(True, ("mixed", "baseline")), (False, ("baseline", "mixed"))], ids=["better", "worse"]
)
def test_a_claim_about_these_test_images_only(folder, scored, better, arms):
    """One image of twelve makes the whole difference, the same in every seed."""
    for seed in SEEDS:
        for arm, hits in zip(arms, gain_on(1, 12), strict=True):
            scored(arm, seed, hits)
    word = "better" if better else "worse"
    (shown,) = summary(folder)
    mixed = rows(shown)["mixed"]
    assert (mixed["verdict"], mixed["seeds_verdict"]) == ("no_difference", word)
    assert mixed["population_low"] < 0 < mixed["population_high"]
    assert 0 not in (mixed["simultaneous_low"], mixed["simultaneous_high"])
    (made,) = make_tables(folder)
    assert sentences.lead(made) == f"{word.capitalize()} than baseline on these test images only: mixed."
    assert f"{word} on these test images only" in (folder / "summary.md").read_text()
    assert f"mixed: {word} on these test images only." in latex("name", [made])


@case(
    SECTION,
    have="an arm is better by its seeds, and a run of it has no outcomes.npz",
    here="the verdict by seeds stands; a note says that nothing is known about other test images, and names the run",
)
def test_without_outcomes_the_verdict_by_seeds_stands_and_a_note_says_so(folder, scored, add):
    for seed in SEEDS:
        for arm, hits in zip(("mixed", "baseline"), gain_on(1, 12), strict=True):
            scored(arm, seed, hits)
        add("conv", seed, 0.0001 * seed)
    (path,) = folder.glob("mixed-s3-*")
    (path / "outcomes.npz").unlink()
    (shown,) = summary(folder)
    mixed = rows(shown)["mixed"]
    assert (mixed["verdict"], mixed["population_low"], mixed["seeds_verdict"]) == ("better", None, None)
    (note,) = [note for note in shown["notes"] if "by seeds alone" in note]
    assert note.startswith("mixed is better by seeds alone: nothing is known about other test images, because outcomes")
    assert note.endswith(f"outcomes.npz is missing in {path.name}")
