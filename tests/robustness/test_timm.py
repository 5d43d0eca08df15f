"""Layers of timm by real processes: without timm, with a layer that changes the shape, in a training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras import needs_timm, without_timm
from tests.robustness.cases import case
from tests.robustness.commands import QUIET

pytestmark = pytest.mark.slow

TINY = ("dataset=shapes", "train.imgsz=64", "train.epochs=1", "hardware=cpu", "hardware.workers=0", *QUIET)


def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    environment = {**os.environ, "COLUMNS": "200"}
    line = [sys.executable, "-m", "acmix_exp", *TINY, *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


@without_timm
def test_training_without_it_ends_before_the_first_run(tmp_path: Path) -> None:
    code, _, error = command(tmp_path, "-m", "block=simam,timm,timm_eca", "arm=baseline,configured")
    assert code == 2
    line = "acmix_exp: arm=configured block=timm: timm is not installed; pip install 'acmix_exp[timm]'"
    assert error.splitlines() == [line]
    assert not (tmp_path / "runs").exists()


@without_timm
def test_the_plan_of_wanted_marks_its_arms(tmp_path: Path) -> None:
    """In the counts by arm, which are printed whatever ``plan.rows``."""
    code, out, error = command(tmp_path, "+experiment=wanted", "task=plan", "seed=0", "plan.rows=0")
    assert code == 0, error
    marked = [line for line in out.splitlines() if "(needs acmix_exp[timm])" in line]
    assert [line.strip("│ ").split()[0] for line in marked] == ["timm-se", "timm-eca", "timm-cbam"]


@needs_timm
@case(
    "What is trained",
    have="an option of timm that changes the shape of the map, such as `block.stride=2`",
    here="the layer is tried at every width before the first run: refused with both shapes",
)
def test_a_layer_that_changes_the_shape(tmp_path: Path) -> None:
    code, _, error = command(tmp_path, "block=timm", "block.layer=lambda", "+block.stride=2")
    assert code == 2
    (line,) = error.splitlines()
    assert "block=timm block.layer=lambda: lambda(128) on a map of 8 x 8 gives" in line
    assert "must keep the shape" in line


@needs_timm
def test_a_layer_is_trained(tmp_path: Path) -> None:
    code, out, error = command(tmp_path, "-m", "block=timm,timm_eca", "arm=configured")
    assert code == 0, error
    assert "timm-se" in out
    assert len(list((tmp_path / "runs" / "default").glob("timm-*/result.json"))) == 2
