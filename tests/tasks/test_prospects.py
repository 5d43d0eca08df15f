"""The first line of a command: what its seeds can show, given what the folder's last summary knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acmix_exp.config import ArmConfig, Config, ReportConfig
from acmix_exp.report.sample_size import detectable
from acmix_exp.run.directory import Run
from acmix_exp.sweep.planning import Cell, Plan
from acmix_exp.tasks.prospects import first_line
from tests.report.builders import add_runs, summary

ARMS = ("baseline", "identity", "conv", "mixed")


def plan(folder: Path, arms=ARMS, seeds=range(3), swept=({},), **settings) -> Plan:
    cells = []
    for arm in arms:
        for values in swept:
            block = {"name": arm if arm == "identity" else "acmix"} if arm != "baseline" else {}
            for seed in seeds:
                config = Config(seed=seed, arm=ArmConfig(arm, arm != "baseline"), block=block, **settings)
                cells.append(Cell(config, arm, {}, "d", dict(values), Run(folder / f"{arm}-s{seed}-0")))
    return Plan(folder.name, folder, cells, [])


def test_before_any_run_only_the_number_of_seeds_is_said(tmp_path):
    few = "3 seeds: no arm can be called better or worse; at least 6 are needed"
    assert first_line(plan(tmp_path)) == few
    assert first_line(plan(tmp_path, seeds=range(1))) == few.replace("3 seeds", "1 seed")
    enough = "8 seeds: enough to call an arm better or worse, which needs at least 6"
    assert first_line(plan(tmp_path, seeds=range(8))) == enough


def test_a_spread_that_is_given_tells_the_difference(tmp_path):
    """The standard deviation is that of a run; identity is no comparison."""
    found = f"{detectable(0.01 * 2**0.5, 6, 2):.2g}"
    assert first_line(plan(tmp_path, sd=0.01)).endswith(
        f"at least 6 are needed; with 6, differences above about {found}"
    )
    found = f"{detectable(0.01 * 2**0.5, 9, 2):.2g}"
    line = f"9 seeds: true differences above about {found} are found with 80 % probability"
    assert first_line(plan(tmp_path, seeds=range(9), sd=0.01)) == line


def test_swept_values_are_comparisons_and_a_reference_is_none(tmp_path):
    values = [{"block.head": head} for head in (2, 4, 8)]
    found = f"{detectable(0.01 * 2**0.5, 6, 3):.2g}"
    assert first_line(plan(tmp_path, ("mixed",), range(6), values, sd=0.01)).startswith(
        f"6 seeds: true differences above about {found}"
    )
    other = plan(tmp_path, ("conv", "mixed"), range(6), sd=0.01, report=ReportConfig(reference="conv"))
    assert f"about {detectable(0.01 * 2**0.5, 6, 1):.2g} " in first_line(other)


def test_the_folder_tells_spread_seeds_and_comparisons(tmp_path):
    folder = tmp_path / "pilot"
    add_runs(folder, ("baseline", "identity", "conv", "attention"), seeds=4, pictures=False)
    summary(folder)
    line = first_line(plan(folder, ("baseline", "conv"), range(4, 8)))
    assert line.startswith("8 seeds: true differences above about 0.0")
    new = first_line(plan(folder, ("mixed",), range(3)))
    assert new.startswith(
        "3 seeds: no arm can be called better or worse; at least 6 are needed; with 6, differences above"
    )


def test_the_reference_alone(tmp_path):
    assert first_line(plan(tmp_path, ("baseline",))) == "baseline alone: there is nothing to compare it with"
    folder = tmp_path / "pilot"
    add_runs(folder, ("baseline", "mixed"), seeds=4, pictures=False)
    summary(folder)
    assert first_line(plan(folder, ("baseline",), range(6))).startswith("6 seeds: true differences above")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"tables": 3}', '{"tables": [{"rows": [{"arm": "x"}]}]}', '{"tables": [3]}']
)
def test_a_summary_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    assert first_line(plan(tmp_path)).startswith("3 seeds: no arm")


def test_the_sum_of_a_large_folder_is_read_from_one_file(tmp_path):
    rows = [
        {"arm": f"a{number}", "in_family": True, "values": [], "deltas": [{"delta": d} for d in (0.01, 0.02, 0.03)]}
        for number in range(2000)
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"tables": [{"swept_keys": [], "rows": rows}]}))
    assert "with 6, differences above about" in first_line(plan(tmp_path))
