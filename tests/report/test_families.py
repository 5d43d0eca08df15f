"""One family over the tables of a folder, comparisons between rows, and what is chosen when results are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.report.build import build
from acmix_exp.report.planned import Asked
from acmix_exp.report.write import write_summary
from tests.report.builders import summary

NOISE = np.random.default_rng(0).normal(0, 0.003, (20, 8))
KERNELS = (3, 5, 7)


def rows(tables):
    return {(row["arm"], row.get("block.kernel_att")): row for table in tables for row in table["rows"]}


def kernels(add, *, swept, gain=lambda kernel: 0.0, seeds=8, baseline=True):
    """A baseline and one row of mixed per kernel: in one table if swept, else in one table each."""
    for seed in range(seeds):
        if baseline:
            add("baseline", seed, 0.3 + NOISE[0, seed], swept={"block.kernel_att": None} if swept else None)
        for kernel in KERNELS:
            value = 0.3 + gain(kernel) + NOISE[kernel, seed]
            add("mixed", seed, value, kernel_att=kernel, swept={"block.kernel_att": kernel} if swept else None)


def test_separate_commands_are_judged_as_one_sweep(tmp_path, folder, add):
    """The same evidence gives the same numbers, whether one command made it or several."""
    kernels(add, swept=False, gain=lambda kernel: 0.004 * (kernel == 7))
    apart = summary(folder)
    folder.rename(tmp_path / "apart")
    kernels(add, swept=True, gain=lambda kernel: 0.004 * (kernel == 7))
    (together,) = summary(folder)
    assert [table["family"] for table in apart] == [3, 3, 3]
    keys = ("p", "p_adjusted", "p_floor", "simultaneous_low", "simultaneous_high", "verdict")
    found = {table["settings"]["block"]["kernel_att"]: rows([table])[("mixed", None)] for table in apart}
    for kernel in KERNELS:
        one, other = found[kernel], rows([together])[("mixed", kernel)]
        assert [one[key] for key in keys] == [other[key] for key in keys]
    assert apart[0]["notes"][0].startswith(
        "3 comparisons with baseline, together with tables 2, 3 of the same reference runs, are one family of the joint"
    )


def test_a_control_of_several_tables_counts_once(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3 + NOISE[0, seed])
        add("conv3x3", seed, 0.3 + NOISE[1, seed])
        for kernel in KERNELS:
            add("mixed", seed, 0.3 + NOISE[kernel, seed], kernel_att=kernel)
    tables = summary(folder)
    assert [table["family"] for table in tables] == [4, 4, 4]
    controls = [rows([table])[("conv3x3", None)]["p_adjusted"] for table in tables]
    assert len(set(controls)) == 1


def test_tables_without_a_common_reference_run_are_families_of_their_own(folder, add):
    for epochs in (2, 9):
        for seed in range(6):
            add("baseline", seed, 0.3, epochs=epochs)
            add("mixed", seed, 0.3 + NOISE[epochs, seed], epochs=epochs)
    tables = summary(folder)
    assert [table["family"] for table in tables] == [1, 1]
    assert not any("together with" in note for table in tables for note in table["notes"])


def test_the_seeds_of_one_table_bind_the_others_and_it_is_said_where(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3 + NOISE[0, seed])
        for kernel in (3, 5):
            if (kernel, seed) != (5, 2):
                add("mixed", seed, 0.3 + NOISE[kernel, seed], kernel_att=kernel)
    first, second = summary(folder)
    assert {row["p_floor"] for row in rows([first, second]).values() if row["in_family"]} == {2 / 2**7}
    lacking = next(
        number for number, table in enumerate((first, second), 1) if table["settings"]["block"]["kernel_att"] == 5
    )
    text = f"The joint test leaves out seed 2, which not all compared arms have; missing in mixed (table {lacking})."
    assert any(note.startswith(text) for note in first["notes"])


def test_the_values_of_a_sweep_are_compared_if_asked_for(folder, add):
    kernels(add, swept=True, gain=lambda kernel: 0.03 * (kernel == 7))
    (table,) = summary(folder)
    assert (table["pairs"], table["family"]) == ([], 3)
    (table,) = summary(folder, pairs="all")
    assert table["family"] == 6
    found = {(pair["block.kernel_att"], pair["against"]["block.kernel_att"]): pair for pair in table["pairs"]}
    assert list(found) == [(5, 3), (7, 3), (7, 5)]
    assert [pair["verdict"] for pair in found.values()] == ["no_difference", "better", "better"]
    for pair in found.values():
        claimed = pair["simultaneous_low"] > 0 or pair["simultaneous_high"] < 0
        assert claimed == (pair["p_adjusted"] <= 0.05) == (pair["verdict"] == "better")
    assert table["notes"][0].startswith("3 comparisons with baseline and 3 between rows are one family")


def test_without_a_baseline_the_values_of_a_sweep_are_compared_all_the_same(folder, add):
    kernels(add, swept=True, gain=lambda kernel: 0.03 * (kernel == 7), baseline=False)
    (table,) = summary(folder, pairs="all")
    assert table["family"] == 3
    assert [pair["verdict"] for pair in table["pairs"]] == ["no_difference", "better", "better"]
    assert table["notes"][0].startswith("3 between rows are one family")


def test_arms_are_compared_with_each_other_but_not_identity(folder, add):
    for seed in range(6):
        for number, arm in enumerate(("baseline", "identity", "conv3x3", "conv", "mixed")):
            add(arm, seed, 0.3 + NOISE[number * (arm != "identity"), seed])
    (table,) = summary(folder, pairs="all")
    pairs = [(pair["arm"], pair["against"]["arm"]) for pair in table["pairs"]]
    assert pairs == [("conv", "conv3x3"), ("mixed", "conv3x3"), ("mixed", "conv")]


def test_rows_that_differ_in_two_things_are_not_compared(folder, add):
    for seed in range(2):
        for kernel in (3, 5):
            for imgsz in (64, 96):
                swept = {"block.kernel_att": kernel, "train.imgsz": imgsz}
                add("mixed", seed, 0.3, kernel_att=kernel, swept=swept)
    (table,) = summary(folder, pairs="all")
    assert len(table["pairs"]) == 4


def test_comparisons_between_rows_are_in_every_output(folder, add):
    kernels(add, swept=True, gain=lambda kernel: 0.03 * (kernel == 7))
    tables = build(folder, Asked(pairs="all")).tables
    markdown = (folder / "summary.md").read_text()
    assert "| mixed kernel_att=7 against mixed kernel_att=3 | 8 | +0.0" in markdown
    page = (folder / "report.html").read_text()
    assert '<table class="pairs"' in page
    sentence = "Between the rows: mixed kernel_att=7 is better than mixed kernel_att=3; "
    assert sentence in page
    assert printed(tables, 120).count("against") == 3
    assert sentence.split(":")[0] not in (build(folder).tables and (folder / "report.html").read_text())


def printed(tables, width: int) -> str:
    from rich.console import Console

    from acmix_exp.report.terminal import terminal

    console = Console(width=width)
    with console.capture() as text:
        console.print(terminal(tables, width))
    return text.get()


def plan(folder: Path, report, started=None, arms=("*",)):
    """Write ``report`` into the provenance of the runs, and their start."""
    for number, path in enumerate(sorted(path for arm in arms for path in folder.glob(f"{arm}-s*"))):
        provenance = json.loads((path / "provenance.json").read_text())
        (path / "provenance.json").write_text(json.dumps({**provenance, "report": report}))
        status = json.loads((path / "status.json").read_text())
        (path / "status.json").write_text(json.dumps({**status, "started": (started or 1000.0) + number}))


@pytest.fixture
def quiet(add):
    for seed in range(8):
        add("baseline", seed, 0.3 + NOISE[0, seed] / 10)
        add("conv", seed, 0.29 + NOISE[1, seed] / 10)
        add("mixed", seed, 0.3 + NOISE[2, seed] / 10)


@pytest.mark.usefixtures("quiet")
def test_a_reference_that_is_chosen_afterwards_is_recorded_and_said(folder):
    plan(folder, {"reference": "baseline", "margin": None, "pairs": "reference"})
    (table,) = summary(folder)
    assert not any("chosen afterwards" in note for note in table["notes"])
    (table,) = summary(folder, "conv")
    assert table["notes"][0].startswith(
        "report.reference=conv was chosen afterwards: the runs were planned with baseline."
    )
    asked = json.loads((folder / "summary.json").read_text())["asked"]
    assert [entry["reference"] for entry in asked] == ["baseline", "conv"]
    (table,) = summary(folder)
    assert not any("chosen afterwards" in note for note in table["notes"])
    assert json.loads((folder / "summary.json").read_text())["asked"] == asked


@pytest.mark.usefixtures("quiet")
def test_of_runs_that_recorded_no_reference_the_first_report_counts(folder):
    assert not any("chosen afterwards" in note for note in summary(folder, "conv")[0]["notes"])
    (table,) = summary(folder)
    assert (
        "report.reference=baseline was chosen afterwards: the runs were first reported with conv." in table["notes"][0]
    )


@pytest.mark.usefixtures("quiet")
def test_the_config_of_runs_without_the_entry_tells_the_reference(folder):
    for path in folder.glob("*/config.yaml"):
        path.write_text(path.read_text() + "report:\n  reference: baseline\n  auto: true\n")
    (table,) = summary(folder, "conv")
    assert "planned with baseline" in table["notes"][0]


@pytest.mark.usefixtures("quiet")
def test_a_margin_that_was_planned_counts_also_without_asking(folder):
    plan(folder, {"reference": "baseline", "margin": 0.01, "pairs": "reference"})
    for asked in (None, 0.01):
        (table,) = summary(folder, margin=asked)
        assert table["margin"] == 0.01
        assert [row["verdict"] for row in table["rows"]] == ["reference", "worse", "equivalent"]
        assert not any("report.margin" in note for note in table["notes"])
    assert "equivalent within 0.01" in (folder / "summary.md").read_text()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("planned", [None, 0.0001], ids=["none", "another"])
def test_a_margin_that_is_set_when_runs_exist_is_recorded_and_not_used(folder, planned):
    plan(folder, {"reference": "baseline", "margin": planned, "pairs": "reference"})
    (table,) = summary(folder, margin=0.01)
    assert table["margin"] == planned
    assert "equivalent" not in [row["verdict"] for row in table["rows"]]
    (note,) = [note for note in table["notes"] if "report.margin=0.01 is not used" in note]
    assert ("without a margin" in note) == (planned is None)
    assert json.loads((folder / "summary.json").read_text())["asked"][-1]["margin"] == 0.01


@pytest.mark.usefixtures("quiet")
def test_the_run_that_was_started_first_decides_on_the_margin(folder):
    plan(folder, {"margin": 0.01}, started=500.0, arms=("mixed",))
    plan(folder, {"margin": None}, started=1000.0, arms=("baseline", "conv"))
    assert summary(folder)[0]["margin"] == 0.01
    plan(folder, {"margin": 0.01}, started=2000.0, arms=("mixed",))
    assert summary(folder)[0]["margin"] is None


def test_a_margin_before_any_run_counts(folder, add):
    add("baseline", 0, None)
    add("mixed", 0, None)
    (table,) = summary(folder, margin=0.01)
    assert table["margin"] == 0.01
    assert not any("margin" in note for note in table["notes"])


@pytest.mark.parametrize("text", ["{", "[]", '{"asked": 3}', '{"asked": [3]}'])
def test_a_damaged_history_of_reports_begins_anew(folder, add, text):
    add("baseline", 0, 0.3)
    (folder / "summary.json").write_text(text)
    write_summary(folder)
    assert len(json.loads((folder / "summary.json").read_text())["asked"]) == 1


def test_a_finding_that_rests_on_one_seed_is_named(folder, add):
    for seed in range(8):
        add("baseline", seed, 0.3 + NOISE[0, seed] / 10)
        add("mixed", seed, 0.3 + NOISE[1, seed] / 10 + (0.1 if seed == 5 else -0.002))
        add("conv", seed, 0.32 + NOISE[2, seed] / 10)
    (table,) = summary(folder)
    (note,) = [note for note in table["notes"] if note.startswith("Skewed deltas")]
    assert note.endswith("mixed rests on seed 5 (without it, the other sign).")
