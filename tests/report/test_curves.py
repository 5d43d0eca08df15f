"""What the table says of the curves of arm identity, which must be the baseline's."""

from __future__ import annotations

import json

import pytest

from acmix_exp.report.write import write_summary


@pytest.fixture
def curves(folder, add):
    """``curves(seed, identity="0.26", **provenance)``: a baseline and an identity with histories of two epochs, one
    value of the latter's changed; returns what is said of them all so far."""

    def write(seed, identity="0.25", resumed=False, **provenance):
        for arm, value in (("baseline", "0.25"), ("identity", identity)):
            status = {"status": "done", "resumed": resumed and arm == "identity"}
            path = add(arm, seed, 0.3, status=status, **(provenance if arm == "identity" else {}))
            (path / "history.csv").write_text(f"epoch,map50_95,seconds\n1,0.2,{len(arm)}\n2,{value},1\n")
        (table,) = write_summary(folder)
        (note,) = [note for note in table["notes"] if "tests the harness" in note]
        return note.split("no member of the family")[1]

    return write


def test_the_curves_of_identity_are_compared_epoch_by_epoch(folder, curves):
    curves(0)
    assert curves(1) == ": its losses and metrics of every epoch equal the baseline's in 2 seeds"
    said = curves(2, "0.250001")
    assert "equal the baseline's in 2 seeds; its curves are NOT the baseline's for seed 2 (nothing on record" in said


@pytest.mark.parametrize(
    ("facts", "excuse"),
    [
        ({"resumed": True}, "identity was resumed"),
        ({"hardware": {"cpu": "another"}}, "another kind of machine"),
        ({"versions": {"torch": "2.14"}}, "another version of torch"),
    ],
)
def test_what_may_excuse_that_they_differ_is_named(folder, add, curves, facts, excuse):
    curves(0, "0.26", **facts)
    for path in folder.glob("baseline-*"):
        known = json.loads((path / "provenance.json").read_text())
        made_with = {"hardware": {"cpu": "one"}, "versions": {"torch": "2.15"}}
        (path / "provenance.json").write_text(json.dumps({**known, **made_with}))
    assert f"seed 0 ({excuse})" in curves(1)


def test_curves_that_are_not_there_are_not_equal(folder, curves):
    curves(0)
    curves(1)
    for path in folder.glob("*-s0-*/history.csv"):
        path.unlink()
    for path in folder.glob("*-s1-*/history.csv"):
        path.write_text("epoch,map50_95\n1,0.2\n")
    said = curves(2)
    assert (
        said
        == ": its losses and metrics of every epoch equal the baseline's in 1 seed; no history to compare for seed 0, 1"
    )
