"""Runs that diverged, and runs of one seed twice: what the table says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acmix_exp.report.build import build
from acmix_exp.report.planned import Asked
from acmix_exp.report.table import best_row, make_tables
from acmix_exp.report.terminal import terminal
from acmix_exp.run.directory import Run
from tests.report import conftest
from tests.report.builders import summary
from tests.robustness.cases import case

folder, add = conftest.folder, conftest.add

SECTION = "Figures and numbers"
DIVERGED = {"status": "failed", "error": "NonFiniteLoss: loss is not finite (nan) in epoch 3"}
COUNTED = {"status": "interrupted", "error": None, "diverged": 1}
KILLED = {"status": "failed", "error": "the training process was killed by SIGKILL (out of memory?)"}
MEMORY = {"status": "failed", "error": "MemoryError: out of memory with train.batch=64"}


def fill(add, failing=(), status=DIVERGED, arms=("baseline", "mixed"), seeds=10, gains=None):
    """Ten seeds an arm, mixed better in each; the runs of ``failing``, as (arm, seed), have no result."""
    gains = gains or {"mixed": 0.03}
    for arm in arms:
        for seed in range(seeds):
            value = 0.3 + 0.01 * seed + gains.get(arm, 0) * (1 + seed / 10)
            failed = (arm, seed) in failing
            add(arm, seed, None if failed else value, status=status if failed else None)


def found(folder: Path, reference: str = "baseline"):
    (table,) = summary(folder, reference)
    return {row["arm"]: row for row in table["rows"]}, "\n".join(table["notes"])


@case(
    SECTION,
    have="2 of an arm's 10 runs ended in a loss that is not finite, the other 8 are better than the baseline",
    here='verdict `diverged`, "2 of 10 runs diverged", in the table, the page, table.tex and on the terminal',
)
def test_an_arm_that_diverged_is_not_better(folder, add):
    fill(add, {("mixed", 3), ("mixed", 7)})
    rows, notes = found(folder)
    assert (rows["mixed"]["verdict"], rows["mixed"]["n"], rows["mixed"]["n_diverged"]) == ("diverged", 8, 2)
    assert rows["mixed"]["p_adjusted"] == pytest.approx(2 / 256), "the 8 others alone would be better"
    assert "mixed seed 3 diverged: loss is not finite (nan) in epoch 3" in notes
    tables = build(folder).tables
    words = "2 of 10 runs diverged"
    assert words in (folder / "summary.md").read_text()
    assert f"diverged: mixed: {words}." in (folder / "table.tex").read_text()
    assert (folder / "report.html").read_text().count(words) >= 3, "the finding, the badge and the table"
    assert "2 of 10 diverged" in (folder / "figures" / "forest.svg").read_text()
    assert ",diverged," in (folder / "summary.csv").read_text()
    for width in (90, 250):
        assert "diverged" in printed(tables, width)


def printed(tables, width: int) -> str:
    from rich.console import Console

    console = Console(width=width)
    with console.capture() as text:
        console.print(terminal(tables, width))
    return text.get()


@case(
    SECTION,
    have="the same two runs were killed, or ran out of memory",
    here="named in the notes; the verdict rests on the other seeds",
)
@pytest.mark.parametrize("status", [KILLED, MEMORY, {"status": "interrupted"}, {"status": "pending"}])
def test_a_run_that_was_killed_did_not_diverge(folder, add, status):
    fill(add, {("mixed", 3), ("mixed", 7)}, status)
    rows, notes = found(folder)
    assert (rows["mixed"]["verdict"], rows["mixed"]["n_diverged"]) == ("better", 0)
    assert f"mixed seed 3 is {status['status']}" in notes


@case(
    SECTION,
    have="a run diverged, was started again and then interrupted, or killed",
    here="it has diverged until an attempt finishes",
)
@pytest.mark.parametrize("status", [COUNTED, {**KILLED, "diverged": 1}, {"status": "pending", "diverged": 2}])
def test_starting_again_does_not_hide_that_a_run_diverged(folder, add, status):
    fill(add, {("mixed", 3)}, status)
    rows, notes = found(folder)
    assert rows["mixed"]["verdict"] == "diverged"
    assert f"mixed seed 3 diverged in an earlier attempt and is {status['status']}" in notes


@case(
    SECTION,
    have="a run diverged, was started again by an older version and finished",
    here="its result counts, and a note says that an earlier attempt diverged",
)
def test_a_second_attempt_that_finished_is_named(folder, add):
    fill(add)
    Run(next(folder.glob("mixed-s4-*"))).set_status(attempt=2, diverged=1)
    rows, notes = found(folder)
    assert rows["mixed"]["verdict"] == "better"
    assert "mixed seed 4 diverged in an earlier attempt" in notes


@case(SECTION, have="the mAP in result.json is NaN, infinite or null", here="the run has diverged; it is not pending")
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
@pytest.mark.parametrize("key", ["map50", "map50_95"])
def test_an_map_that_is_not_finite_has_diverged(folder, add, key, value):
    fill(add)
    path = next(folder.glob("mixed-s4-*"))
    content = json.loads((path / "result.json").read_text())
    content["metrics"][key] = "HERE"
    (path / "result.json").write_text(json.dumps(content).replace('"HERE"', value))
    assert Run(path).state() == "failed"
    rows, notes = found(folder)
    assert (rows["mixed"]["verdict"], rows["mixed"]["n"]) == ("diverged", 9)
    assert "mixed seed 4 diverged: the mAP in result.json is not finite" in notes


@case(
    SECTION,
    have="runs of the baseline diverged",
    here="an arm is better or worse only if it is so with those runs at mAP 0 too, else `diverged`",
)
@pytest.mark.parametrize(("gain", "verdict"), [(0.03, "better"), (-0.03, "diverged")])
def test_a_reference_that_diverged(folder, add, gain, verdict):
    fill(add, {("baseline", 3), ("baseline", 7)}, gains={"mixed": gain})
    rows, _ = found(folder)
    assert rows["baseline"]["verdict"] == "reference"
    assert rows["mixed"]["verdict"] == verdict
    text = (folder / "summary.md").read_text()
    assert "reference, 2 of 10 runs diverged" in text
    assert "2 of 10 runs of baseline diverged" in text


def test_both_diverged_at_one_seed(folder, add):
    """At mAP 0 that seed has no difference, and 9 seeds of one sign are still better."""
    fill(add, {("baseline", 3), ("mixed", 3)})
    rows, _ = found(folder)
    assert rows["mixed"]["verdict"] == "better"
    assert "better, 1 of 10 runs diverged, 1 of 10 runs of baseline diverged" in (folder / "summary.md").read_text()


@case(SECTION, have="every run of an arm diverged", here="a row without numbers, verdict `diverged`")
@pytest.mark.parametrize("reference", ["baseline", "mixed"])
def test_all_runs_diverged(folder, add, reference):
    fill(add, {("mixed", seed) for seed in range(10)})
    rows, _ = found(folder, reference)
    assert (rows["mixed"]["n"], rows["mixed"]["delta_mean"]) == (0, None)
    other = "baseline" if reference == "mixed" else "mixed"
    assert rows[other]["verdict"] == "diverged"
    assert rows[reference]["verdict"] == "reference"
    build(folder, Asked(reference))
    assert "10 of 10 runs" in (folder / "report.html").read_text()


def test_every_run_of_the_folder_diverged(folder, add):
    fill(add, {(arm, seed) for arm in ("baseline", "mixed") for seed in range(3)}, seeds=3)
    rows, _ = found(folder)
    assert rows["mixed"]["verdict"] == "diverged"
    build(folder)


def test_an_arm_without_a_reference_that_diverged(folder, add):
    fill(add, {("mixed", 3)}, arms=("mixed",))
    assert found(folder)[0]["mixed"]["verdict"] == "diverged"


def test_an_arm_that_is_worse_and_diverged_has_diverged(folder, add):
    fill(add, {("mixed", 3)}, gains={"mixed": -0.03})
    assert found(folder)[0]["mixed"]["verdict"] == "diverged"


def test_few_seeds_of_which_one_diverged(folder, add):
    fill(add, {("mixed", 1)}, seeds=3)
    assert found(folder)[0]["mixed"]["verdict"] == "diverged"


def test_a_resumed_run_that_diverged_at_epoch_50(folder, add):
    late = {**DIVERGED, "resumed": True, "attempt": 2, "error": "NonFiniteLoss: loss is not finite (inf) in epoch 50"}
    fill(add, {("mixed", 3)}, late)
    rows, notes = found(folder)
    assert rows["mixed"]["verdict"] == "diverged"
    assert "mixed seed 3 diverged: loss is not finite (inf) in epoch 50" in notes


@case(
    SECTION,
    have="identity, which checks the harness, diverged",
    here="the check passes only if the baseline diverged in the same seed after the same epochs",
)
@pytest.mark.parametrize(
    ("failing", "verdict"),
    [
        ({("identity", 3)}, "harness_fault"),
        ({("baseline", 3)}, "harness_fault"),
        ({("identity", 3), ("baseline", 3)}, "harness_ok"),
        ({(arm, seed) for arm in ("identity", "baseline") for seed in range(10)}, "harness_ok"),
    ],
)
def test_a_control_that_diverged(folder, add, failing, verdict):
    fill(add, failing, arms=("baseline", "identity"))
    rows, notes = found(folder)
    assert rows["identity"]["verdict"] == verdict
    assert ("DIFFERS" in notes) == (verdict == "harness_fault")


def test_a_row_that_diverged_is_never_the_best(folder, add):
    fill(add, {("baseline", 3), ("mixed", 3)})
    (table,) = make_tables(folder)
    assert best_row(table.rows) is None


@case(
    SECTION,
    have="a seed was run twice",
    here="the run that was started first counts, whatever its folder is called; the other one is named",
)
@pytest.mark.parametrize("first", ["a", "z"])
def test_of_two_runs_of_a_seed_the_first_started_counts(folder, add, first):
    for name, value in (("a", 0.4), ("z", 0.5)):
        path = add("mixed", 0, value)
        path.rename(path.with_name(f"mixed-s0-{name * 8}"))
        Run(path.with_name(f"mixed-s0-{name * 8}")).set_status(started=1000.0 + (name != first))
    rows, notes = found(folder)
    assert rows["mixed"]["map50_95_mean"] == (0.4 if first == "a" else 0.5)
    other = "z" if first == "a" else "a"
    assert f"second run of seed 0 (mixed-s0-{other * 8}), left out: the one started first counts" in notes


def test_of_a_seed_run_twice_the_first_counts_if_it_diverged_too(folder, add):
    for started, status in enumerate((DIVERGED, None)):
        Run(add("mixed", 0, None if status else 0.5, status=status)).set_status(started=float(started))
    rows, _ = found(folder)
    assert (rows["mixed"]["n"], rows["mixed"]["n_diverged"]) == (0, 1)
