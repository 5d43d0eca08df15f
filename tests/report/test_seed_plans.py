"""Verdicts and the seeds that were planned: interim, seeds added later, and runs that did not record a plan."""

from __future__ import annotations

import json

import pytest

from tests.report.builders import summary

ARMS = ("baseline", "conv", "mixed")


@pytest.fixture
def planned(folder, add):
    """``planned("mixed", seed, value, plan)``: a finished run that was planned with these seeds; None: not recorded."""

    def make(arm, seed, value, plan, started=None, **kwargs):
        path = add(arm, seed, value, **kwargs)
        provenance = json.loads((path / "provenance.json").read_text())
        if plan is not None:
            provenance["planned_seeds"] = list(plan)
        (path / "provenance.json").write_text(json.dumps(provenance))
        status = json.loads((path / "status.json").read_text())
        started = seed if started is None else started
        (path / "status.json").write_text(json.dumps({**status, "started": float(started)}))
        return path

    return make


def value(arm, seed):
    return 0.5 + {"mixed": 0.05}.get(arm, 0) + 0.001 * (-1) ** seed * (arm != "baseline")


def found(folder):
    (table,) = summary(folder)
    return {row["arm"]: row["verdict"] for row in table["rows"]}, "\n".join(table["notes"])


def fill(planned, seeds, plan, arms=ARMS):
    for arm in arms:
        for seed in seeds:
            planned(arm, seed, value(arm, seed), plan)


def test_a_verdict_waits_for_all_planned_seeds(folder, planned):
    fill(planned, range(7), range(8))
    verdicts, notes = found(folder)
    assert verdicts == {"baseline": "reference", "conv": "interim", "mixed": "interim"}
    assert "not all planned seeds are done (baseline 7 of 8, conv 7 of 8, mixed 7 of 8)" in notes
    fill(planned, range(7, 8), range(8))
    verdicts, notes = found(folder)
    assert verdicts == {"baseline": "reference", "conv": "no_difference", "mixed": "better"}
    assert "planned seeds" not in notes


def test_one_missing_run_of_any_arm_makes_the_family_interim(folder, planned):
    fill(planned, range(8), range(8), ("baseline", "mixed"))
    fill(planned, range(7), range(8), ("conv",))
    verdicts, notes = found(folder)
    assert (verdicts["conv"], verdicts["mixed"]) == ("interim", "interim")
    assert "(conv 7 of 8)" in notes


def test_too_few_seeds_are_interim_too_while_more_are_planned(folder, planned):
    fill(planned, range(2), range(8))
    assert found(folder)[0]["mixed"] == "interim"


def test_the_check_of_the_harness_is_never_interim(folder, planned):
    fill(planned, range(2), range(8), ("baseline", "mixed"))
    for seed in range(2):
        planned("identity", seed, value("baseline", seed), range(8), given={"name": "identity"})
    verdicts, _ = found(folder)
    assert (verdicts["identity"], verdicts["mixed"]) == ("harness_ok", "interim")


def test_missing_runs_of_the_harness_check_do_not_hold_up_the_others(folder, planned):
    fill(planned, range(6), range(6), ("baseline", "mixed"))
    planned("identity", 0, value("baseline", 0), range(6), given={"name": "identity"})
    assert found(folder)[0]["mixed"] == "better"


def test_runs_that_recorded_no_plan_are_judged_as_they_are(folder, planned):
    fill(planned, range(6), None)
    verdicts, notes = found(folder)
    assert verdicts["mixed"] == "better"
    assert "planned" not in notes


def test_an_arm_of_a_command_with_fewer_seeds_is_not_interim(folder, planned):
    fill(planned, range(8), range(8), ("baseline", "mixed"))
    fill(planned, range(6), range(6), ("conv",))
    verdicts, notes = found(folder)
    assert verdicts["conv"] == "no_difference"
    assert "Interim" not in notes


def test_seeds_added_to_a_plan_are_named_with_the_verdicts_without_them(folder, planned):
    for arm in ARMS:
        for seed in range(6):  # one sign differs
            planned(arm, seed, 0.5 + (0.05 if seed else -0.002) * (arm == "mixed"), range(6))
        for seed in (6, 7):
            planned(arm, seed, 0.5 + 0.06 * (arm == "mixed"), range(8))
    verdicts, notes = found(folder)
    assert verdicts["mixed"] == "better"
    assert "Seeds 6, 7 were added later to the planned ones: the 5 % of false claims no longer hold as stated" in notes
    assert "The verdicts of the planned seeds alone: conv no difference; mixed no difference, not better." in notes


def test_seeds_added_to_too_few_for_any_verdict_are_named_and_harmless(folder, planned):
    fill(planned, range(3), range(3))
    fill(planned, range(3, 8), range(8))
    verdicts, notes = found(folder)
    assert verdicts["mixed"] == "better"
    assert "Seeds 3, 4, 5, 6, 7 were added later" in notes
    assert "too few for any verdict: the 5 % stand" in notes


def test_one_added_seed_is_singular(folder, planned):
    fill(planned, range(2), range(2))
    fill(planned, range(2, 3), range(3))
    assert "Seed 2 was added later to the planned ones" in found(folder)[1]


def test_the_order_of_the_starts_says_which_plan_was_first(folder, planned):
    """Seeds 0 to 5 may have been added to 6 to 11."""
    for arm in ARMS:
        for seed in range(12):
            plan = range(6, 12) if seed > 5 else range(12)
            planned(arm, seed, value(arm, seed), plan, started=seed - 6 if seed > 5 else seed + 6)
    assert "Seeds 0, 1, 2, 3, 4, 5 were added later" in found(folder)[1]


def test_a_damaged_plan_is_none(folder, planned):
    fill(planned, range(6), ["all"])
    assert found(folder)[0]["mixed"] == "better"


def with_looks(path, looks=(6, 8), shares=(0.0, 0.05)):
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["seeds_plan"] = {"looks": looks, "shares": shares}
    (path / "provenance.json").write_text(json.dumps(provenance))


def test_seeds_after_the_look_count_in_the_means_alone(folder, planned):
    for arm in ARMS:
        for seed in range(8):
            with_looks(planned(arm, seed, value(arm, seed), range(8)))
    verdicts, notes = found(folder)
    assert (verdicts["conv"], verdicts["mixed"]) == ("no_difference", "better")
    assert "Decided at 6 seeds: conv no difference (stopped" in notes
    assert "Decided at 8 seeds: mixed better" in notes
    assert "Seeds 6, 7 of conv came after its look: in the means, not in the verdict." in notes


@pytest.mark.parametrize(
    "damage",
    [
        {"looks": [8, 6]},
        {"shares": [0.05, 0.05]},
        {"looks": ["a", "b"]},
        {"looks": []},
        {"shares": [0.01]},
        {"looks": None},
        {"shares": [-0.01, 0.05]},
    ],
)
def test_a_damaged_plan_of_looks_is_none(folder, planned, damage):
    for arm in ARMS:
        for seed in range(6):
            with_looks(planned(arm, seed, value(arm, seed), range(6)), **damage)
    assert found(folder)[0]["mixed"] == "better"


def test_comparisons_between_rows_have_no_verdict_with_looks(folder, planned):
    from acmix_exp.report.planned import Asked
    from acmix_exp.report.write import write_summary

    for arm in ARMS:
        for seed in range(6):
            with_looks(planned(arm, seed, value(arm, seed), range(8)))
    (table,) = write_summary(folder, Asked(pairs="all"))
    assert [pair.comparison.verdict for pair in table.pairs] == [None]


def test_two_tables_of_one_reference_each_have_their_rows_judged_by_their_own_plans(folder, planned):
    """Seeds that were added to one of two values of a sweep are taken from that one alone."""
    for seed in range(7):
        planned("baseline", seed, value("baseline", seed), range(7))
        planned("ema", seed, value("mixed", seed), range(7), given={"name": "ema", "factor": 4})
        planned("ema", seed, value("mixed", seed), range(6), given={"name": "ema", "factor": 8})
    tables = summary(folder)
    assert len(tables) == 2
    (note,) = [note for table in tables for note in table["notes"] if "added later" in note]
    assert note.startswith("Seed 6 was added later")
