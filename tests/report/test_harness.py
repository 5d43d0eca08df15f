"""The check of the harness: arm identity against the baseline, epoch by epoch."""

from __future__ import annotations

import json

import pytest

from tests.report.builders import summary


@pytest.fixture
def checked(folder, add):
    """``checked(seed, identity="0.26", **provenance)``: adds a baseline and an identity with two epochs of history.

    One value of the latter's history is ``identity``. Returns verdict and note of all seeds so far.
    """

    def write(seed, identity="0.25", resumed=False, headline=0.3, **provenance):
        for arm, value, map50_95 in (("baseline", "0.25", 0.3), ("identity", identity, headline)):
            status = {"status": "done", "resumed": resumed and arm == "identity"}
            path = add(arm, seed, map50_95, status=status, **(provenance if arm == "identity" else {}))
            (path / "history.csv").write_text(f"epoch,map50_95,seconds\n1,0.2,{len(arm)}\n2,{value},1\n")
        (table,) = summary(folder)
        (note,) = [note for note in table["notes"] if "checks the harness" in note]
        return table["rows"][1]["verdict"], note.split("is not in the family")[1]

    return write


def test_equal_in_every_epoch(checked):
    checked(0)
    assert checked(1) == ("harness_ok", ": it equals baseline in losses and metrics of every epoch, 2 seeds")


def test_a_difference_without_a_cause_is_a_fault(checked):
    checked(0)
    verdict, note = checked(1, "0.250001")
    assert verdict == "harness_fault"
    assert note.endswith("every epoch, 1 seed; it DIFFERS from baseline in seed 1 (no recorded cause)")


def test_a_headline_that_differs_is_a_fault_too(checked):
    verdict, note = checked(0, headline=0.31)
    assert verdict == "harness_fault"
    assert "DIFFERS from baseline in seed 0" in note


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"resumed": True}, "identity was resumed"),
        ({"hardware": {"cpu": "another"}}, "another kind of machine"),
        ({"versions": {"torch": "2.14"}}, "another version of torch"),
    ],
)
def test_a_recorded_cause_is_named_and_no_fault(folder, checked, facts, cause):
    checked(0, "0.26", **facts)
    for path in folder.glob("baseline-*"):
        known = json.loads((path / "provenance.json").read_text())
        made_with = {"hardware": {"cpu": "one"}, "versions": {"torch": "2.15"}}
        (path / "provenance.json").write_text(json.dumps({**known, **made_with}))
    verdict, note = checked(1)
    assert verdict == "harness_ok"
    assert f"seed 0 ({cause})" in note


def test_a_significant_difference_is_a_fault_with_any_cause(checked):
    for seed in range(6):
        verdict, _ = checked(seed, headline=0.31 + seed / 1000, resumed=True)
        assert verdict == ("harness_ok" if seed < 5 else "harness_fault")


def test_a_missing_history_is_not_equal(folder, checked):
    checked(0)
    checked(1)
    for path in folder.glob("*-s0-*/history.csv"):
        path.unlink()
    for path in folder.glob("*-s1-*/history.csv"):
        path.write_text("epoch,map50_95\n1,0.2\n")
    assert checked(2) == (
        "harness_ok",
        ": it equals baseline in losses and metrics of every epoch, 1 seed; no history to compare for seed 0, 1",
    )
