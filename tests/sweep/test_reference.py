"""Arms that may be the reference before they are trained."""

from __future__ import annotations

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.run.directory import Run
from acmix_exp.sweep.planning import Cell, Plan, check_reference


@pytest.fixture
def check(tmp_path, make_config):
    """``check("conv")``: for a plan of the arm mixed only."""

    def call(reference: str) -> None:
        config = make_config("arm=mixed", f"report.reference='{reference}'")
        run = Run(tmp_path / "runs" / "test" / "mixed-s0-00000000")
        check_reference(Plan("test", run.path.parent, [Cell(config, "mixed", {}, "shapes", {}, run)], []))

    return call


@pytest.mark.parametrize("name", ["baseline", "mixed", "conv", "conv3x3", "lska", "acmix-attention"])
def test_planned_and_shipped_arms_may_be_the_reference(check, name):
    check(name)


def test_an_arm_of_the_folder_may_be_the_reference(check, make_run):
    with pytest.raises(ConfigError, match=r"^report.reference=mine: .*; choose from mixed, acmix_backbone, "):
        check("mine")
    make_run("mine-s0-00000000", arm="mine")
    check("mine")
    check("mine (acmix-conv)")


@pytest.mark.parametrize("name", ["basline", "configured", ""])
def test_an_unknown_arm_is_refused(check, name):
    with pytest.raises(ConfigError, match=r"^report.reference="):
        check(name)
