"""What a table claims and what it names: family, controls, two kinds of noise, runs that are not as the rest."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from tests.report.builders import summary

ARMS = ("baseline", "identity", "conv3x3", "conv", "attention", "mixed")


def rows(table):
    return {row["arm"]: row for row in table["rows"]}


@pytest.fixture
def full(add):
    """Six arms over eight seeds; mixed is better in every one, conv3x3 in seven."""
    for seed in range(8):
        base = 0.3 + 0.01 * seed
        for arm in ARMS:
            gain = {"mixed": 0.02 + 0.001 * seed, "conv3x3": 0.01 - 0.0125 * (seed == 3)}.get(arm, 0.0)
            gain += {"conv": 0.01, "attention": 0.015}.get(arm, 0.0) * (-1) ** seed
            add(arm, seed, base + gain)


@pytest.mark.usefixtures("full")
def test_identity_is_outside_the_family_and_conv3x3_in_it(folder):
    (table,) = summary(folder)
    found = rows(table)
    assert list(found) == list(ARMS)
    assert table["family"] == 4
    assert [arm for arm in ARMS if found[arm]["in_family"]] == ["conv3x3", "conv", "attention", "mixed"]
    assert found["mixed"]["p"] == pytest.approx(2 / 256)
    assert found["mixed"]["p_adjusted"] == found["mixed"]["p_floor"] == pytest.approx(2 / 256)
    assert found["mixed"]["verdict"] == "better"
    assert found["conv3x3"]["p"] == pytest.approx(4 / 256)
    assert found["conv3x3"]["p_adjusted"] > 0.05 > found["conv3x3"]["p"]
    assert found["conv3x3"]["verdict"] == "no_difference"
    for row in (found[arm] for arm in ARMS if found[arm]["in_family"]):
        outside = row["simultaneous_low"] > 0 or row["simultaneous_high"] < 0
        assert outside == (row["p_adjusted"] <= 0.05) == (row["verdict"] in ("better", "worse"))
        assert row["excludes"] == pytest.approx(max(map(abs, stats.t.interval(0.9, 7, *_mean_and_error(row)))))
    assert found["attention"]["verdict"] == "no_difference"
    identity = found["identity"]
    assert (identity["delta_low"], identity["delta_high"]) == (0, 0)
    assert (identity["p"], identity["p_adjusted"], identity["p_floor"]) == (1, None, None)
    assert identity["verdict"] == "harness_ok"
    assert table["notes"][0] == (
        "4 comparisons with baseline are one family of the joint sign-flip test, over the 8 seeds that they have in "
        "common. To call an arm better or worse needs at least 6 paired seeds."
    )


def _mean_and_error(row):
    deltas = [entry["delta"] for entry in row["deltas"]]
    return np.mean(deltas), stats.sem(deltas)


@pytest.mark.usefixtures("full")
def test_values_and_deltas_are_there_by_seed(folder):
    (table,) = summary(folder)
    mixed, baseline = rows(table)["mixed"], rows(table)["baseline"]
    assert [entry["seed"] for entry in mixed["values"]] == list(range(8))
    assert mixed["values"][2].keys() >= {"map50_95", "map50", "val_last", "val_best"}
    for entry in mixed["deltas"]:
        own = {value["seed"]: value["map50_95"] for value in mixed["values"]}
        theirs = {value["seed"]: value["map50_95"] for value in baseline["values"]}
        assert entry["delta"] == own[entry["seed"]] - theirs[entry["seed"]]
    assert baseline["deltas"] == []
    assert baseline["verdict"] == "reference"
    assert mixed["n_paired"] == 8


@pytest.mark.usefixtures("full")
def test_another_reference(folder):
    (table,) = summary(folder, "conv3x3")
    found = rows(table)
    assert table["reference"] == "conv3x3"
    assert found["conv3x3"]["verdict"] == "reference"
    assert found["baseline"]["delta_mean"] == pytest.approx(-(0.01 - 0.0125 / 8))
    assert [arm for arm in ARMS if found[arm]["in_family"]] == ["baseline", "conv", "attention", "mixed"]
    (table,) = summary(folder, "nobody")
    assert all(row["delta_mean"] is None for row in table["rows"])
    assert any("report.reference=nobody names no row" in note for note in table["notes"])


@pytest.mark.usefixtures("full")
def test_the_harness_is_outside_the_family_with_identity_as_the_reference_too(folder):
    (table,) = summary(folder, "identity")
    found = rows(table)
    assert table["family"] == 4
    assert [arm for arm in ARMS if found[arm]["in_family"]] == ["conv3x3", "conv", "attention", "mixed"]
    assert (found["baseline"]["p_adjusted"], found["baseline"]["verdict"]) == (None, "harness_ok")
    assert found["mixed"]["p_adjusted"] == pytest.approx(2 / 256)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("reference", ["baseline", "mixed", "conv3x3", "nobody"])
def test_identity_is_checked_against_the_stock_network_whatever_the_reference(folder, reference):
    (table,) = summary(folder, reference)
    found = rows(table)["identity"]
    assert (found["verdict"], found["in_family"]) == ("harness_ok", False)
    (path,) = folder.glob("identity-s3-*")
    result = json.loads((path / "result.json").read_text())
    result["metrics"]["map50_95"] += 0.01
    (path / "result.json").write_text(json.dumps(result))
    (table,) = summary(folder, reference)
    assert rows(table)["identity"]["verdict"] == "harness_fault"


def test_identity_alone_has_no_verdict(folder, add):
    for seed in range(8):
        add("identity", seed, 0.3)
        add("mixed", seed, 0.4 + seed / 100)
    for reference in ("baseline", "mixed"):
        (table,) = summary(folder, reference)
        assert rows(table)["identity"]["verdict"] is None


def test_a_reference_with_several_rows_is_compared_value_by_value(folder, add):
    add("baseline", 0, 0.3, swept={"block.kernel_att": None})
    for kernel in (3, 5):
        for arm, value in (("conv", 0.3), ("mixed", 0.3 + kernel / 100)):
            add(arm, 0, value, kernel_att=kernel, swept={"block.kernel_att": kernel})
    (table,) = summary(folder, "conv")
    deltas = {(row["arm"], row["block.kernel_att"]): row["delta_mean"] for row in table["rows"]}
    assert deltas[("mixed", 3)] == pytest.approx(0.03)
    assert deltas[("mixed", 5)] == pytest.approx(0.05)
    assert deltas[("baseline", None)] is None


def test_arms_with_few_seeds_do_not_hold_up_the_others(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3)
        add("mixed", seed, 0.31 + seed / 1000)
    for arm in ("conv", "attention"):
        add(arm, 0, 0.3)
    (table,) = summary(folder)
    mixed, conv = rows(table)["mixed"], rows(table)["conv"]
    assert table["family"] == 3
    assert mixed["p_adjusted"] == mixed["p_floor"] == pytest.approx(2 / 256)
    assert mixed["verdict"] == "better"
    assert (conv["p"], conv["p_adjusted"], conv["p_floor"]) == (None, None, 1)
    assert conv["verdict"] == "too_few_seeds"
    note = "The joint test leaves out conv, attention: too few seeds in common with the others."
    assert note in table["notes"]


def test_seeds_that_an_arm_lacks_are_left_out_for_all_and_named(folder, add):
    for seed in range(8):
        for arm, gain in (("baseline", 0), ("conv", 0.001 * (-1) ** seed), ("mixed", 0.01)):
            if (arm, seed) not in (("mixed", 3), ("mixed", 5)):
                add(arm, seed, 0.3 + gain + seed / 1000)
    (table,) = summary(folder)
    assert rows(table)["mixed"]["p_floor"] == rows(table)["conv"]["p_floor"] == 2 / 2**6
    assert rows(table)["conv"]["n_paired"] == 8
    assert any("over the 6 seeds that they have in common" in note for note in table["notes"])
    assert (
        "The joint test leaves out seeds 3, 5, which not all compared arms have; missing in mixed. More seeds of these "
        "would sharpen every verdict."
    ) in table["notes"]


def test_last_and_best_epoch_are_both_in_the_table(folder, add):
    for seed in (0, 1):
        path = add("baseline", seed, 0.3)
        result = json.loads((path / "result.json").read_text())
        result["val_last"] = {"epoch": 9, "map50": 0.5, "map50_95": 0.25 + seed / 10}
        result["val_best"] = {"epoch": 7, "map50": 0.5, "map50_95": 0.45 + seed / 10}
        (path / "result.json").write_text(json.dumps(result))
    (table,) = summary(folder)
    (row,) = table["rows"]
    assert (row["val_last_mean"], row["val_best_mean"]) == (pytest.approx(0.3), pytest.approx(0.5))
    assert row["val_last_std"] == pytest.approx(0.1 / 2**0.5)
    assert [value["best_epoch"] for value in row["values"]] == [7, 7]
    assert "| 0.300 | 0.500 |" in (folder / "summary.md").read_text()


def matched(like, match="parameters"):
    return {
        "name": "conv3x3_matched",
        "match": match,
        "like": {"name": like, "kernel_att": 7, "head": 4, "path": "mixed"},
    }


def add_matched(add, seed, value, like="acmix", **options):
    path = add("conv3x3_matched", seed, value, given=matched(like), **options)
    result = json.loads((path / "result.json").read_text())
    sizes = {
        "parameters_block": 277_760,
        "matched_parameters": 278_524,
        "hidden_backbone_p4": 47,
        "hidden_backbone_p5": 85,
    }
    (path / "result.json").write_text(json.dumps({**result, "cost": {**result["cost"], **sizes}}))


def test_join_and_the_matched_control_are_in_the_family(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3)
        add("join", seed, 0.31)
        add("conv", seed, 0.32)
        add("mixed", seed, 0.32)
        add_matched(add, seed, 0.29)
    (table,) = summary(folder)
    found = rows(table)
    assert list(found) == ["baseline", "join", "conv3x3_matched", "conv", "mixed"]
    assert all(found[arm]["in_family"] for arm in found if arm != "baseline")
    assert (
        "conv3x3_matched: a 3x3 convolution to fewer channels (47 at backbone_p4, 85 at backbone_p5) and a 1x1 back, "
        "277,760 parameters where acmix-mixed has 278,524 (-0.3%)"
    ) in table["notes"]


def test_a_matched_control_is_in_the_table_of_its_block(folder, add):
    add("baseline", 0, 0.3)
    for kernel in (5, 7):
        add("mixed", 0, 0.3, kernel_att=kernel)
    add_matched(add, 0, 0.3)
    tables = summary(folder)
    assert [list(rows(table)) for table in tables] == [["baseline", "mixed"], ["baseline", "conv3x3_matched", "mixed"]]


def test_controls_that_match_different_blocks_are_different_rows(folder, add):
    add("baseline", 0, 0.3)
    for block in ("ema", "lska"):
        add(block, 0, 0.3, given={**matched(block)["like"]})
        add_matched(add, 0, 0.3, block)
    (table,) = summary(folder)
    names = [f"conv3x3_matched ({block}-mixed-parameters)" for block in ("ema", "lska")]
    assert sorted(rows(table)) == sorted(["baseline", "ema", "lska", *names])


def test_a_request_for_join_without_a_run_is_noted(folder, add):
    add("baseline", 0, 0.3, status={"status": "done", "serves": ["join"]})
    (table,) = summary(folder)
    assert any(note.startswith("join adds nothing") for note in table["notes"])


def test_the_parameters_of_conv3x3_are_set_beside_the_blocks(folder, add):
    for arm in ("baseline", "conv3x3", "conv", "mixed"):
        path = add(arm, 0, 0.3)
        result = json.loads((path / "result.json").read_text())
        result["cost"]["parameters"] = {"baseline": 100, "conv3x3": 3000, "conv": 2500, "mixed": 4000}[arm]
        (path / "result.json").write_text(json.dumps(result))
    (table,) = summary(folder)
    assert "conv3x3 differs in parameters: +500 against conv, -1,000 against mixed" in table["notes"]


@pytest.mark.parametrize("pretrained", [None, "yolov8n.pt"])
@pytest.mark.parametrize("mode", ["after", "replace"])
def test_conv3x3_in_a_bottleneck_is_the_baseline_and_the_table_says_so(folder, add, mode, pretrained):
    for arm in ("baseline", "mixed"):
        path = add(arm, 0, 0.3)
        for name in ("config.yaml", "provenance.json"):
            text = (path / name).read_text()
            text = text.replace("mode: after", f"mode: {mode}").replace('"mode": "after"', f'"mode": "{mode}"')
            text = text.replace("pretrained: null", f"pretrained: {pretrained or 'null'}")
            (path / name).write_text(text)
    (table,) = summary(folder)
    said = any("is the baseline itself" in note for note in table["notes"])
    assert said is (mode == "replace" and pretrained is None)


def test_a_request_for_conv3x3_without_a_run_is_noted(folder, add):
    add("baseline", 0, 0.3, status={"status": "done", "serves": ["conv3x3"]})
    (table,) = summary(folder)
    assert any(note.startswith("conv3x3 in place of") for note in table["notes"])


def test_missing_cells_are_named(folder, add):
    add("baseline", 0, 0.3, swept={"block.kernel_att": None})
    for arm, kernels in (("mixed", (3, 5, 7)), ("conv", (3, 7))):
        for kernel in kernels:
            add(arm, 0, 0.3, kernel_att=kernel, swept={"block.kernel_att": kernel})
    (table,) = summary(folder)
    missing = [note for note in table["notes"] if "has no run with" in note]
    assert missing == ["conv has no run with block.kernel_att=5"]


def test_unpaired_failed_and_resumed_runs_are_named(folder, add):
    for seed in (0, 1, 2):
        add("baseline", seed, 0.3)
    add("mixed", 0, 0.3, status={"status": "done", "resumed": True})
    add("mixed", 1, None, status={"status": "failed", "error": "out of memory"})
    (table,) = summary(folder)
    text = "\n".join(table["notes"])
    assert "mixed seed 0 was interrupted and resumed" in text
    assert "mixed seed 1 is failed: out of memory" in text
    assert "mixed has no run of seed 2; deltas use the seeds in common" in text
    assert rows(table)["mixed"]["n_paired"] == 1


def test_mixed_commits_machines_and_uncommitted_changes_are_named(folder, add):
    add("baseline", 0, 0.3, git={"commit": "a" * 40, "dirty": False}, hardware={"cpu": "one"})
    add("mixed", 0, 0.3, git={"commit": "b" * 40, "dirty": True}, hardware={"cpu": "one", "gpu": "two"})
    (table,) = summary(folder)
    text = "\n".join(table["notes"])
    assert "more than one commit: aaaaaaaa (baseline-s0-00000000), bbbbbbbb (mixed-s0-00000001)" in text
    assert "more than one kind of machine: one (baseline-s0-00000000), two (mixed-s0-00000001)" in text
    assert "uncommitted changes: mixed-s0-00000001" in text


def test_other_changes_of_one_commit_are_another_state(folder, add):
    for arm, digest in (("baseline", "1" * 64), ("mixed", "2" * 64)):
        add(arm, 0, 0.3, git={"commit": "a" * 40, "dirty": True, "diff_sha256": digest})
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if "more than one commit" in note]
    assert "aaaaaaaa with changes 11111111 (baseline-s0-00000000), aaaaaaaa with changes 22222222 (mixed" in note
