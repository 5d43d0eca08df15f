"""Ways to a verdict that the runs do not give: what the table says of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from acmix_exp import cli
from acmix_exp.report.build import build
from acmix_exp.report.planned import Asked
from tests.report import conftest
from tests.report.builders import summary
from tests.robustness.cases import case
from tests.robustness.test_command_line import SECTION as COMMAND_LINE
from tests.robustness.test_command_line import faults

folder, add = conftest.folder, conftest.add

SECTION = "Figures and numbers"
NOISE = np.random.default_rng(0).normal(0, 0.003, (20, 16))


def fill(add, arms=("baseline", "mixed"), seeds=8, gain=0.0, **options):
    for number, arm in enumerate(arms):
        for seed in range(seeds):
            add(arm, seed, 0.3 + gain * (arm == arms[-1]) + NOISE[number, seed], **options)


def found(folder: Path, **asked):
    tables = summary(folder, **asked)
    return [row for table in tables for row in table["rows"]], "\n".join(tables[0]["notes"])


@case(
    SECTION,
    have="`report.margin=0.01` set when the differences are known",
    here="recorded in summary.json and not used; a note says with which margin, or without one, the runs were planned",
)
def test_a_margin_that_is_set_afterwards(folder, add):
    fill(add)
    rows, notes = found(folder, margin=0.05)
    assert rows[1]["excludes"] < 0.05
    assert rows[1]["verdict"] == "no_difference"
    assert "report.margin=0.05 is not used: the first run was planned without a margin" in notes
    assert json.loads((folder / "summary.json").read_text())["asked"][0]["margin"] == 0.05


@case(
    SECTION,
    have="`report.reference=ARM`, the worst one, chosen when the table is known",
    here="a note says with which reference the runs were planned, and summary.json keeps every reference asked for",
)
def test_a_reference_that_is_chosen_afterwards(folder, add):
    fill(add, ("baseline", "mixed", "conv"), gain=-0.05)
    found(folder)
    rows, notes = found(folder, reference="conv")
    assert [row["verdict"] for row in rows].count("better") == 2
    assert "report.reference=conv was chosen afterwards" in notes
    assert [entry["reference"] for entry in json.loads((folder / "summary.json").read_text())["asked"]] == [
        *("baseline", "conv")
    ]


@case(
    SECTION,
    have="five values of a key, each by a command of its own, so that each table has one comparison",
    here="one family over all tables that share runs of the baseline: the p values are those of one sweep",
)
def test_commands_apart(folder, add):
    fill(add, ("baseline",))
    for kernel in (3, 5, 7, 9, 11):
        for seed in range(8):
            add("mixed", seed, 0.3 + NOISE[kernel, seed], kernel_att=kernel)
    tables = summary(folder)
    assert [table["family"] for table in tables] == [5] * 5


@case(
    SECTION,
    have="an arm with fewer seeds than the others, or without one of them",
    here="the joint test uses the seeds in common and names who lacks which; below six seeds an arm is left out of it",
)
@pytest.mark.parametrize(("seeds", "used"), [(2, 8), (5, 8), (6, 6), (7, 7)])
def test_an_arm_with_fewer_seeds(folder, add, seeds, used):
    fill(add, ("baseline", "mixed"), gain=0.03)
    for seed in range(seeds):
        add("conv", seed, 0.3 + NOISE[5, seed])
    rows, notes = found(folder)
    by_arm = {row["arm"]: row for row in rows}
    assert (by_arm["mixed"]["verdict"], by_arm["mixed"]["p_floor"]) == ("better", 2 / 2**used)
    assert (by_arm["conv"]["verdict"] == "too_few_seeds") == (seeds < 6)
    assert ("missing in conv" in notes) == (used < 8)
    assert ("leaves out conv: too few seeds" in notes) == (seeds < 6)


@case(
    SECTION,
    have="one seed; two; all differences equal; all runs equal; one arm beside the baseline",
    here="a whole report without a warning; no claim below six seeds, and none where nothing differs",
)
@pytest.mark.parametrize("seeds", [1, 2, pytest.param(5, marks=pytest.mark.slow), 6])
@pytest.mark.parametrize("gain", [0.0, 0.03])
@pytest.mark.filterwarnings("error")
def test_hardly_any_numbers(folder, add, seeds, gain):
    for seed in range(seeds):
        add("baseline", seed, 0.3)
        add("mixed", seed, 0.3 + gain)
    build(folder, Asked(pairs="all"))
    rows, _ = found(folder)
    claim = "better" if gain else "no_difference"
    assert rows[1]["verdict"] == (claim if seeds >= 6 else "too_few_seeds")
    assert rows[1]["excludes"] == (pytest.approx(gain) if seeds > 1 else None)


@case(
    SECTION,
    have="one run of an arm, or of the baseline, collapsed, and its seed decides the finding",
    here="a note names the seed and what becomes of the finding without it",
)
@pytest.mark.parametrize("arm", ["baseline", "mixed"])
def test_one_seed_decides(folder, add, arm):
    for seed in range(8):
        for name in ("baseline", "mixed"):
            value = 0.3 + NOISE[int(name == "mixed"), seed] / 10 - 0.003 * (name != arm)
            add(name, seed, value if (name, seed) != (arm, 4) else 0.01)
    _, notes = found(folder)
    assert "mixed rests on seed 4 (without it, the other sign)" in notes


@case(
    COMMAND_LINE,
    have="`report.margin` 0, negative, 1 (points in place of mAP), nan or text; `report.pairs=some`; "
    "`report.language=de`",
    here="one line that says what it must be, exit code 2",
)
@pytest.mark.parametrize("task", ["train", "report"])
def test_margins_and_pairs_that_are_none(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    others = {
        "report.pairs=some": "report.pairs=some: must be one of reference, all",
        "report.language=de": "report.language=de: must be one of en, zh",
    }
    for typed, shown in (("0", "0.0"), ("-0.01", "-0.01"), ("1", "1.0"), ("nan", "nan")):
        line = f"report.margin={shown}: must be a difference in mAP50-95 above 0, below 1; a point is 0.01"
        assert sorted(faults(f"task={task}", f"report.margin={typed}", *others)) == sorted([line, *others.values()])
    assert faults(f"task={task}", "report.margin=small") == ["report.margin=small: must be of type float"]


@case(
    COMMAND_LINE,
    have="`report.columns=thesys`, `report.columns=[P,mAP5]`, `report.columns=[]`, with any task",
    here="one line with the nearest name, or what it may be, exit code 2",
)
@pytest.mark.parametrize(
    ("columns", "right"), [("thesys", "did you mean thesis?"), ("[P,mAP5]", "did you mean mAP50?"), ("[]", "must be")]
)
def test_columns_that_do_not_exist(tmp_path, monkeypatch, capsys, columns, right):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["acmix_exp", "task=report", f"report.columns={columns}"])
    assert cli.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"acmix_exp: report.columns={columns}: ")
    assert right in line
