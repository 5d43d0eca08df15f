"""Completion in bash: what Tab offers, without starting a program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from acmix_exp.config import options
from acmix_exp.report.columns import PRESETS
from acmix_exp.sweep import completion
from acmix_exp.sweep.check import TASKS

# With "=" among the characters that break words, as bash has it by default, a reply is what follows it.
BREAKS = " =:><;|&"
PROBE = """
source "$1"; COMP_WORDBREAKS="$2"; shift 2
for COMP_LINE; do
    COMP_POINT=${#COMP_LINE} COMPREPLY=()
    _acmix_exp
    echo "> ${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("user")
    (root / "acmix.bash").write_text(completion.script())
    for name in ("mixed-s0-0123abcd", "mixed-s1-4567abcd", "baseline-s0-89abcdef"):
        (root / "runs" / "demo" / name).mkdir(parents=True)
        (root / "runs" / "demo" / name / "status.json").touch()
    (root / "runs" / "demo" / "figures").mkdir()
    (root / "my data.yaml").touch()
    return root


def offered(folder: Path, *lines: str, breaks: str = BREAKS) -> list[list[str]]:
    typed = [f"acmix-exp {line}" for line in lines]
    arguments = ["bash", "-c", PROBE, "bash", str(folder / "acmix.bash"), breaks, *typed]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    return [part.split() for part in done.stdout.split("> ")[1:]]


def test_values_of_keys_and_groups(folder: Path) -> None:
    tasks, arms, several, precision, listed = offered(
        folder, "task=", "arm=", "-m arm=baseline,mi", "task=export export.quantize=", "report.columns="
    )
    assert sorted(tasks) == sorted(TASKS)
    assert sorted(arms) == options("arm")
    assert several == ["baseline,mixed"]
    assert precision == ["32", "16", "8", "w8a16", "w8a32"]
    assert listed == list(PRESETS)
    assert offered(folder, "block=hat", "+experiment=abl", "train.optimizer=S", "report.auto=") == [
        ["hat"],
        ["ablation", "ablation_full"],
        ["SGD"],
        ["true", "false"],
    ]


def test_keys_level_by_level(folder: Path) -> None:
    first, train, block, plus, nothing = offered(folder, "tr", "train.e", "block.kernel_a", "+exp", "zzz")
    assert (first, train, block) == (["train.", "train="], ["train.epochs=", "train.extra."], ["block.kernel_att="])
    assert (plus, nothing) == (["+experiment=", "+export."], [])


def test_runs_arms_and_experiments(folder: Path) -> None:
    runs, arms, name, a = offered(folder, "run=", "task=export run=runs/demo/m", "name=", "a=runs/demo/base")
    assert (runs, name) == (["runs/demo/"], ["demo"])
    assert arms == ["runs/demo/mixed", "runs/demo/mixed-s0-0123abcd", "runs/demo/mixed-s1-4567abcd"]
    assert a == ["runs/demo/baseline", "runs/demo/baseline-s0-89abcdef"]


def test_a_shell_that_does_not_break_at_the_equals_sign(folder: Path) -> None:
    assert offered(folder, "arm=mi", "dataset.path=my", breaks=" ")[0] == ["arm=mixed"]


def test_every_shipped_option_is_known() -> None:
    words = set(completion._values())
    for group in ("block", "dataset", "experiment", "hardware", "logger", "model", "model/placement", "train"):
        assert {f"{group}={option}" for option in options(group)} <= words
    assert "'" not in completion.script().split("_acmix_exp_runs()")[0].replace("='", "").replace("'\n", "")


def test_the_answer_takes_less_than_half_a_second(folder: Path) -> None:
    lines = ["task=", "arm=", "block=", "run=runs/demo/", "tr", "train.optimizer=", "model/placement=", "a=", "b", "e"]
    offered(folder, *lines * 10)  # a hundred within the time limit of the process, which is 20 s
