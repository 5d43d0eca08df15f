"""W&B's environment variables: what its users expect of them, beside what the command line says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp.config import Config
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.tracking import Tracker, is_disabled, remarks
from tests.robustness.cases import case
from tests.robustness.commands import COMMON, tiny_data
from tests.tracking import wandb_file

SECTION = "Weights & Biases"
VARIABLES = {
    "WANDB_PROJECT": "my project",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "first tries",
    "WANDB_NOTES": "what, why",
    "WANDB_TAGS": "a, 中文,,b c",
}


@pytest.fixture(autouse=True)
def _without_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


def setting(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def composed(*arguments: str) -> Config:
    (cell,) = compose_cells(["arm=baseline", *arguments])
    return cell.config


@case(
    SECTION,
    have="`WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_RUN_GROUP`, `WANDB_NOTES`, `WANDB_TAGS`",
    here="used and recorded where the command says nothing: `logger.project`, `logger.entity`, `logger.group`, "
    "`logger.notes` and `tags` count before them",
)
def test_variables_count_where_the_command_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    setting(monkeypatch, VARIABLES)
    config, logger = composed(), composed().logger
    assert (logger.project, logger.entity, logger.group, logger.notes) == tuple(VARIABLES.values())[:4]
    assert config.tags == ["a", "中文", "b c"]
    assert composed("name=other").logger.group == "first tries"
    given = composed("logger.project=p", "logger.entity=e", "logger.group=g", "logger.notes=n", "tags=[t]")
    assert [*list(vars(given.logger).values())[:5], given.tags] == ["auto", "p", "e", "g", "n", ["t"]]
    assert composed("tags=[]").tags == []
    assert {name: os.environ[name] for name in VARIABLES} == VARIABLES


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting(monkeypatch, dict.fromkeys(VARIABLES, value))
    config = composed()
    assert [*list(vars(config.logger).values())[:5], config.tags] == ["auto", None, None, None, None, []]


@case(
    SECTION,
    have="`WANDB_PROJECT=a/b` or a tag of 65 characters in `WANDB_TAGS`, which W&B refuses",
    here="one line that names the variable, exit code 2; not asked where nothing is logged",
)
@pytest.mark.parametrize(("name", "value"), [("WANDB_PROJECT", "a/b"), ("WANDB_TAGS", f"a,{'x' * 65}")])
def test_a_variable_that_wandb_refuses(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}={value}: must be "):
        composed()
    composed("logger=disabled")
    composed("logger.project=p", "tags=[t]")
    compose_cells(["task=report"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    composed()


@case(
    SECTION,
    have="`WANDB_DISABLED=true` (or any other value but 0, false, no, off), with a key configured",
    here="no W&B run; `logger=online` or `logger=offline` counts before it",
    reported="ultralytics #2973, transformers #9699",
)
@pytest.mark.parametrize(("value", "disabled"), [("true", True), ("1", True), ("", False), ("false", False)])
def test_wandb_disabled(value: str, disabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DISABLED", value)
    assert is_disabled("auto") == disabled
    assert not is_disabled("offline")


@case(
    SECTION,
    have="`WANDB_NAME`, `WANDB_JOB_TYPE`, `WANDB_RUN_ID`, `WANDB_DIR`: the same for every run of a sweep",
    here="not used, and a line says so",
)
def test_variables_that_are_not_used_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remarks("auto") == []
    setting(monkeypatch, {"WANDB_NAME": "x", "WANDB_DIR": "y"})
    assert [line.split(" is not used: ")[0] for line in remarks("auto")] == ["WANDB_NAME", "WANDB_DIR"]
    assert remarks("disabled") == []


@case(SECTION, have="`WANDB_API_KEY` with a space or a line end around it", here="taken without it; blank: none")
@case(
    SECTION,
    have="what wandb itself refuses, `WANDB_TAGS=a,,b` or `WANDB_PROJECT=a/b`, beside `tags=`, `logger.project=`",
    here="wandb does not see it, and logs",
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("WANDB_API_KEY", " ", marks=pytest.mark.slow),
        ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567\r\n"),
        ("WANDB_TAGS", "a,,b"),
        pytest.param("WANDB_TAGS", "x" * 65, marks=pytest.mark.slow),
        ("WANDB_PROJECT", "a/b"),
        ("WANDB_RUN_ID", "a/b"),
    ],
)
def test_what_wandb_refuses_is_kept_from_it(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    try:
        config = composed("tags=[t]", "logger.project=acmix_exp")
        tracker = Tracker.start(config, tmp_path, resumed=False, resolved={})
        tracker.end()
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert (tracker.mode, tracker.warnings) == ("offline", [])
    assert wandb_file.read_run(tmp_path).project == "acmix_exp"


@pytest.mark.slow
def test_a_run_and_its_report_are_logged_as_the_variables_say(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "acmix_exp",
        *COMMON,
        "train.epochs=1",
        f"dataset.path={tiny_data(tmp_path / 'd')}",
    ]
    environ = {**os.environ, **VARIABLES, "WANDB_MODE": "offline", "WANDB_NAME": "ours", "WANDB_DIR": str(tmp_path)}
    done = subprocess.run([*command, "name=x", "logger.notes=typed"], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WANDB_NAME is not used: " in done.stderr
    assert not (tmp_path / "wandb").exists()
    (run,) = (tmp_path / "runs" / "x").glob("baseline-*")
    for path, kind in ((run, "baseline"), (run.parent, "report")):
        file = wandb_file.read_run(path)
        assert (file.project, file.entity, file.group) == ("my project", "team", "first tries")
        assert (file.notes, file.job_type) == ("typed", kind)
        assert file.name in (run.name, "x-report")
    assert wandb_file.read_run(run).tags == ["a", "中文", "b c"]

    disabled = {**os.environ, "WANDB_DISABLED": "true"}
    done = subprocess.run([*command, "name=y"], env=disabled, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "y").rglob("*wandb*")) == []
