"""Rows, deltas and notes from run directories as they are on disk, whole or not."""

import csv
import json

import pytest

from acmix_exp.report.grouping import heading
from acmix_exp.report.read_runs import read
from tests.report.builders import summary


def rows(table):
    return {(row["arm"], *(row[key] for key in table["swept_keys"])): row for row in table["rows"]}


def test_a_row_for_each_arm_with_paired_deltas(folder, add):
    for seed, base in enumerate((0.30, 0.50)):
        add("mixed", seed, base + 0.04)
        add("conv", seed, base - 0.02)
        add("baseline", seed, base)
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["baseline", "conv", "mixed"]
    mixed = rows(table)[("mixed",)]
    assert mixed["n"] == 2
    assert mixed["map50_95_mean"] == pytest.approx(0.44)
    assert mixed["map50_95_std"] == pytest.approx(0.2 / 2**0.5)
    assert mixed["map50_mean"] == pytest.approx(0.64)
    assert mixed["delta_mean"] == pytest.approx(0.04)
    assert mixed["parameters"] == 3_001_000
    assert mixed["verdict"] == "too_few_seeds"
    assert rows(table)[("baseline",)]["verdict"] == "reference"
    assert rows(table)[("baseline",)]["delta_mean"] is None
    assert any("at least 6 paired seeds" in note for note in table["notes"])


def test_different_blocks_stand_in_one_table(folder, add):
    blocks = {"acmix-mixed": {"name": "acmix", "head": 4}, "ema": {"name": "ema", "factor": 8}, "lsk": {"name": "lsk"}}
    add("baseline", 0, 0.3)
    add("conv3x3", 0, 0.35)
    for gain, (label, block) in enumerate(blocks.items()):
        add(label, 0, 0.4 + gain / 100, given=block)
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["baseline", "conv3x3", "acmix-mixed", "ema", "lsk"]
    assert [row["delta_mean"] for row in table["rows"]] == [None, *map(pytest.approx, (0.05, 0.1, 0.11, 0.12))]
    assert any(note.startswith("4 comparisons with baseline") for note in table["notes"])
    assert "head" not in heading(table["settings"]), "it is not every row's"


def test_a_block_with_other_options_has_another_table(folder, add):
    add("baseline", 0, 0.3)
    for factor in (4, 8):
        add("ema", 0, 0.4, given={"name": "ema", "factor": factor})
    add("lsk", 0, 0.4, given={"name": "lsk"})
    tables = summary(folder)
    labels = [[row["arm"] for row in table["rows"]] for table in tables]
    assert sorted(labels) == [["baseline", "ema"], ["baseline", "ema"], ["baseline", "lsk"]]


def test_user_defined_blocks_are_distinguished_by_class(folder, add):
    add("baseline", 0, 0.3)
    add("first", 0, 0.4, given={"name": "custom", "target": "mine.First", "source": "a"})
    add("second", 0, 0.4, given={"name": "custom", "target": "mine.Second", "source": "a"})
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["baseline", "first", "second"]


def test_the_three_files_say_the_same(folder, add):
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4)
    (table,) = summary(folder)
    assert json.loads((folder / "summary.json").read_text())["tables"] == json.loads(json.dumps([table]))
    with open(folder / "summary.csv", newline="") as file:
        read_rows = list(csv.DictReader(file))
    assert [row["arm"] for row in read_rows] == ["baseline", "mixed"]
    assert float(read_rows[1]["delta_mean"]) == pytest.approx(0.1)
    assert "| mixed | 1 | 0.400 | 0.600 | +0.100 |" in (folder / "summary.md").read_text()
    assert "too few seeds (6 needed)" in (folder / "summary.md").read_text()
    assert [row["verdict"] for row in read_rows] == ["reference", "too_few_seeds"]


def test_columns_are_the_contract(folder, add):
    add("mixed", 0, 0.4, swept={"block.kernel_att": 7})
    summary(folder)
    assert (folder / "summary.csv").read_text().splitlines()[0] == (
        "arm,block.kernel_att,n,map50_95_mean,map50_95_std,map50_mean,precision_mean,recall_mean,"
        "delta_mean,delta_low,delta_high,simultaneous_low,simultaneous_high,population_low,population_high,"
        "p,p_adjusted,p_floor,detectable,excludes,verdict,parameters,gflops,latency_ms_b1"
    )


def test_swept_values_make_rows_and_share_one_baseline(folder, add):
    add("baseline", 0, 0.30, swept={"block.kernel_att": None})
    for kernel in (3, 5):
        add("mixed", 0, 0.3 + kernel / 100, kernel_att=kernel, swept={"block.kernel_att": kernel})
    (table,) = summary(folder)
    assert list(rows(table)) == [("baseline", None), ("mixed", 3), ("mixed", 5)]
    assert rows(table)[("mixed", 5)]["delta_mean"] == pytest.approx(0.05)


def test_a_run_made_without_the_axis_is_placed_by_its_config(folder, add):
    add("mixed", 0, 0.4, kernel_att=7)
    add("mixed", 0, 0.5, kernel_att=3, swept={"block.kernel_att": 3})
    (table,) = summary(folder)
    assert list(rows(table)) == [("mixed", 3), ("mixed", 7)]


def test_runs_that_differ_otherwise_are_never_averaged(folder, add):
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4, kernel_att=7)
    add("mixed", 1, 0.9, kernel_att=5)
    add("baseline", 0, 0.5, epochs=9)
    tables = summary(folder)
    assert sorted(len(table["rows"]) for table in tables) == [1, 2, 2]
    assert all(row["n"] <= 1 for table in tables for row in table["rows"])
    with open(folder / "summary.csv", newline="") as file:
        assert {row["table"] for row in csv.DictReader(file)} == {"1", "2", "3"}


def test_data_that_the_seed_chooses_are_folds_of_one_table(folder, add):
    for seed in range(3):
        for arm, value in (("baseline", 0.3), ("mixed", 0.4)):
            add(arm, seed, value + seed / 10, data=f"fold {seed}")
    (table,) = summary(folder)
    mixed = rows(table)[("mixed",)]
    assert (mixed["n"], mixed["n_paired"]) == (3, 3)
    assert mixed["map50_95_mean"] == pytest.approx(0.5)
    assert [entry["delta"] for entry in mixed["deltas"]] == pytest.approx([0.1] * 3)
    (note,) = [note for note in table["notes"] if "data differ by seed (3 folds)" in note]
    assert "share training images" in note
    assert "p is approximate" in note
    assert "shapes (3 folds)" in (folder / "summary.md").read_text()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({("baseline", 0): "a", ("mixed", 0): "a", ("baseline", 1): "a", ("mixed", 1): "b"}, id="by-arm"),
        pytest.param(
            {(arm, seed): "ab"[seed > 1] for arm in ("baseline", "mixed") for seed in range(4)}, id="repeated"
        ),
        pytest.param({("baseline", 0): "a", ("mixed", 0): "b"}, id="one-seed"),
    ],
)
def test_data_that_something_else_chooses_are_tables_apart(folder, add, data):
    for (arm, seed), fingerprint in data.items():
        add(arm, seed, 0.3, data=fingerprint)
    assert len(summary(folder)) == 2
    assert "folds" not in (folder / "summary.md").read_text()


def test_data_of_other_classes_are_no_folds(folder, add):
    for seed, names in enumerate((["cell"], ["car"])):
        add("baseline", seed, 0.3, data=f"{seed}", dataset={"name": "d", "names": names})
    assert len(summary(folder)) == 2


def test_a_run_is_read_again_only_if_a_file_of_it_changed(folder, add):
    paths = [add("baseline", seed, 0.3) for seed in range(2)]
    first = read(folder)
    content = json.loads((paths[1] / "result.json").read_text())
    content["metrics"]["map50_95"] = 0.5
    (paths[1] / "result.json").write_text(json.dumps(content))
    second = read(folder)
    assert second[0] is first[0]
    assert second[1].result.map50_95 == 0.5


def test_controls_stand_beside_every_block_with_their_placement(folder, add):
    for arm in ("baseline", "identity", "conv3x3"):
        add(arm, 0, 0.3)
    add("mixed", 0, 0.4, kernel_att=7)
    add("mixed", 0, 0.4, kernel_att=5)
    tables = summary(folder)
    assert [[row["arm"] for row in table["rows"]] for table in tables] == 2 * [
        ["baseline", "identity", "conv3x3", "mixed"]
    ]
    assert {table["settings"]["block"]["kernel_att"] for table in tables} == {5, 7}


def test_controls_without_a_block_are_one_table(folder, add):
    for arm in ("baseline", "identity", "conv3x3"):
        add(arm, 0, 0.3)
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["baseline", "identity", "conv3x3"]


def test_tables_have_distinct_headings(folder, add):
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.4, kernel_att=7)
    add("mixed", 0, 0.4, kernel_att=5)
    add("baseline", 0, 0.5, epochs=9)
    headings = [heading(table["settings"]) for table in summary(folder)]
    assert len(set(headings)) == 3
    assert sum("kernel_att 5" in text for text in headings) == 1
    assert sum("9 epochs" in text for text in headings) == 1


def test_a_heading_names_several_gpus_of_a_run(folder, add):
    add("baseline", 0, 0.3)
    (table,) = summary(folder)
    hardware = {"precision": "fp16", "device": "cuda", "gpus_per_run": 2}
    assert "fp16 on 2 x cuda" in heading({**table["settings"], "hardware": hardware})


def test_an_arm_redefined_between_commands_is_two_rows(folder, add):
    add("mixed", 0, 0.4)
    path = add("mixed", 1, 0.6)
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["identity"]["block"]["path"] = "conv"
    (path / "provenance.json").write_text(json.dumps(provenance))
    (table,) = summary(folder)
    assert [row["arm"] for row in table["rows"]] == ["mixed (acmix-conv)", "mixed (acmix-mixed)"]


def test_other_batches_are_named(folder, add):
    add("baseline", 0, 0.3, seed_proof="a")
    add("mixed", 0, 0.4, seed_proof="b")
    (table,) = summary(folder)
    assert any("not all rows saw the same first batches" in note for note in table["notes"])


def test_unrecorded_batches_are_not_different_batches(folder, add):
    add("baseline", 0, 0.3, seed_proof="a")
    add("mixed", 0, 0.4, seed_proof="a")
    add("conv", 0, 0.4)
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if "first batches" in note]
    assert note == ("The first batches were not recorded, so the pairing rests on the seed alone: conv-s0-00000002")


def test_every_left_out_run_is_named(folder, add):
    add("baseline", 0, 0.3)
    add("baseline", 1, 0.3)
    add("mixed", 0, 0.4, status={"status": "done", "resumed": True})
    add("mixed", 1, None, status={"status": "failed", "error": "out of memory"})
    add("conv", 0, 0.4)
    (table,) = summary(folder)
    notes = "\n".join(table["notes"])
    assert "mixed seed 1 is failed: out of memory" in notes
    assert "mixed seed 0 was interrupted and resumed" in notes
    assert "conv has no run of seed 1" in notes
    assert rows(table)[("conv",)]["n"] == 1


def test_a_run_that_was_resumed_exactly_is_not_named(folder, add):
    """Only versions before 0.2 resumed in another way; a change of versions in between is named."""
    status = {"status": "done", "resumed": True}
    changes = ["torch 2.14.0, then 2.15.0", "threads 1, then 2"]
    paths = [add("mixed", 0, 0.4, status=status), add("mixed", 1, 0.4, status=status, resumed_with=changes)]
    for path in paths:
        provenance = json.loads((path / "provenance.json").read_text())
        provenance["identity"]["sampling"] = 2
        (path / "provenance.json").write_text(json.dumps(provenance))
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if "resumed" in note]
    assert note == (
        "mixed seed 1 was interrupted and resumed, under other conditions: torch 2.14.0, then 2.15.0, threads 1, then 2"
    )


def test_runs_of_both_samplings_have_tables_of_their_own(folder, add):
    for seed in (0, 1):
        add("baseline", seed, 0.3)
        path = add("baseline", seed, 0.4)
        provenance = json.loads((path / "provenance.json").read_text())
        provenance["identity"]["sampling"] = 2
        (path / "provenance.json").write_text(json.dumps(provenance))
    tables = summary(folder)
    assert [table["rows"][0]["map50_95_mean"] for table in tables] == pytest.approx([0.3, 0.4])
    headings = [heading(table["settings"]) for table in tables]
    assert ["samples drawn by protocol 1" in text for text in headings] == [True, False]
    assert ["samples drawn by protocol 2" in text for text in headings] == [False, True]


def test_versions_that_differ_are_named(folder, add):
    add("baseline", 0, 0.3, versions={"ultralytics": "8.4.190"})
    add("mixed", 0, 0.3, versions={"ultralytics": "8.4.191"})
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if "more than one" in note]
    assert "version of ultralytics: 8.4.190 (baseline-s0-00000000), 8.4.191 (mixed-s0-00000001)" in note


def test_without_a_baseline_there_are_no_deltas_and_it_says_so(folder, add):
    add("mixed", 0, 0.4)
    (table,) = summary(folder)
    assert table["rows"][0]["delta_mean"] is None
    assert any("no baseline" in note for note in table["notes"])


def test_a_corrupt_run_does_not_stop_the_table(folder, add):
    add("baseline", 0, 0.3)
    path = add("mixed", 0, 0.4)
    (path / "result.json").write_text("{")
    (path / "status.json").write_text("{")
    broken = add("conv", 0, 0.4)
    (broken / "config.yaml").write_text("seed: [")
    (table,) = summary(folder)
    assert rows(table)[("mixed",)]["n"] == 0
    assert any("status.json is corrupt" in note for note in table["notes"])
    assert any("config.yaml cannot be read" in note for note in table["notes"])


def test_rows_that_learned_nothing_are_named(folder, add):
    for seed in (0, 1):
        add("baseline", seed, 0.0)
        add("mixed", seed, 0.0)
        add("conv", seed, 0.001)
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if "not learned" in note]
    assert note.startswith("Every finished run of these rows scores 0 mAP50-95: baseline, mixed. They have")
