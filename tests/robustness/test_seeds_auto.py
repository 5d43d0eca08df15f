"""``seeds=auto``: what is typed wrongly, and runs that fail, diverge or are interrupted at a look."""

from __future__ import annotations

import shlex

import pytest

from acmix_exp.config import Config, SeedsPlanConfig
from acmix_exp.errors import ConfigError
from acmix_exp.report.sequential import Arm, Looks, decide
from acmix_exp.report.statistics import Verdict
from acmix_exp.sweep import seed_axis
from acmix_exp.sweep.compose import compose_cells
from tests.robustness.cases import Row, add, case

SECTION = "Command line"
LOOKS = Looks((6, 8), (0.0, 0.05))
REFUSED = {
    "seeds=auto 'seed=range(0,8)'": (
        "refused: seeds=auto has seeds of its own",
        ["seed=range(0,8): seeds=auto has seeds of its own"],
    ),
    "seeds=auto seed=3": ("refused: seeds=auto has seeds of its own", ["seed=3: seeds=auto"]),
    "seeds=8": ("refused, with the sweep that it means", ["seeds=8: must be auto; use -m 'seed=range(0,8)'"]),
    "seeds=0,1,2": ("refused, with the sweep that it means", ["seeds=0,1,2: must be auto; use -m seed=0,1,2"]),
    "seeds=auto 'seeds_plan.shares=[0.02,0.02,0.02,0]'": (
        "refused: the shares must sum to 0.05 at most",
        ["seeds_plan.shares=[0.02,0.02,0.02,0]: must sum to 0.05 at most; they sum to 0.06"],
    ),
    "seeds=auto 'seeds_plan.shares=[0.05]'": (
        "refused: one share for each look",
        ["seeds_plan.shares=[0.05]: must be 4 numbers, one for each look of seeds_plan.looks=[6,8,12,16]"],
    ),
    "seeds=auto 'seeds_plan.shares=[-0.01,0.02,0.02,0.02]'": (
        "refused: shares are from 0 to 0.05",
        ["seeds_plan.shares=[-0.01,0.02,0.02,0.02]: must be numbers from 0 to 0.05"],
    ),
    "seeds=auto 'seeds_plan.looks=[8,6,12,16]'": (
        "refused: looks rise",
        ["seeds_plan.looks=[8,6,12,16]: must be rising numbers of seeds, from 2 to 1000"],
    ),
    "seeds=auto 'seeds_plan.looks=[6,6,12,16]'": ("refused: looks rise", ["must be rising numbers of seeds"]),
    "seeds=auto 'seeds_plan.looks=[]'": ("refused: looks rise", ["seeds_plan.looks=[]: must be rising"]),
    "seeds=auto 'seeds_plan.looks=[2,4]' 'seeds_plan.shares=[0.02,0.03]'": (
        "refused: with so few seeds no arm could ever be called better or worse",
        ["no look could call an arm better or worse", "are 0.5, 0.12"],
    ),
    "'seeds_plan.looks=[6,12]'": ("refused without seeds=auto", ["seeds_plan.looks: is for seeds=auto"]),
}

for typed, (here, _) in REFUSED.items():
    add(Row(SECTION, f"`{typed}` in a sweep", here))


@pytest.mark.parametrize(("typed", "words"), [(typed, words) for typed, (_, words) in REFUSED.items()])
def test_what_contradicts_itself_is_refused(typed, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        compose_cells(["-m", "arm=baseline,mixed", *shlex.split(typed)])
    for word in words:
        assert word in str(caught.value)
    assert len(caught.value.lines) == 1


@case(SECTION, have="an experiment that has a seed axis, with `seeds=auto`", here="seeds=auto replaces the axis")
def test_the_axis_of_an_experiment_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = compose_cells(["+experiment=ablation", "seeds=auto"])
    assert [cell.config.seed for cell in cells[:17]] == [*range(16), 0]
    assert len(cells) == 4 * 16


def test_shares_that_sum_to_5_percent_but_for_rounding_are_fine():
    shares = [0.001, 0.035, 0.004, 0.01]
    assert sum(shares) > 0.05
    plan = SeedsPlanConfig(looks=[8, 9, 10, 11], shares=shares)
    assert seed_axis.faults(Config(seeds="auto", seeds_plan=plan), ()) == []


@case(
    "Interruptions and disks",
    have="`seeds=auto`, and a run of a look fails",
    here="the other runs of the look are trained, no verdict is given, exit code 1; the same command trains it again "
    "and goes on",
)
def test_a_look_waits_for_a_failed_run():
    """The whole command: tests/tasks/test_looks.py."""
    failed = Arm({seed: 0.1 for seed in range(6) if seed != 3}, [seed for seed in range(6) if seed != 3])
    progress = decide({"failed": failed, "whole": Arm(dict.fromkeys(range(6), 0.1), range(6))}, LOOKS)
    assert (progress.decisions, progress.seeds) == ({}, 6)


@case(
    "What is trained", have="`seeds=auto`, and all arms are decided at the first look", here="nothing more is trained"
)
def test_all_arms_may_be_decided_at_the_first_look():
    equal = Arm(dict.fromkeys(range(6), 0.0), range(6))
    progress = decide({"a": equal, "b": equal}, LOOKS)
    assert progress.seeds is None
    assert {decision.verdict for decision in progress.decisions.values()} == {Verdict.NO_DIFFERENCE}


@case(
    "What is trained",
    have="`seeds=auto`, and a run of an arm diverges",
    here="the arm stops as diverged at that look, the others go on; a diverged run of the reference stops all",
)
def test_what_diverges_stops():
    lacking = Arm({seed: 0.1 for seed in range(6) if seed != 3}, range(6))
    whole = Arm(dict.fromkeys(range(6), 0.1), range(6))
    assert decide({"a": lacking, "b": whole}, LOOKS).running == ["b"]
    assert decide({"a": lacking, "b": lacking}, LOOKS).running == []
