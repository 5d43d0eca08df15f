"""Numbers of seeds and standard deviations as people give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.tasks.power import power
from tests.report.builders import add_runs
from tests.robustness.cases import case
from tests.robustness.test_command_line import SECTION, faults


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        power(compose_cells(["task=power", *arguments]))
    return str(caught.value)


@case(
    SECTION,
    have="`task=power` with `sd=0`, `sd=-0.01`, `sd=nan`, `sd=1` (points in place of mAP), `sd=1%`",
    here="one line that says what it must be and how large a point is, exit code 2",
)
@pytest.mark.parametrize("task", ["power", "plan", "train"])
def test_standard_deviations_that_are_none(task: str) -> None:
    numbers = (("0", "0.0"), ("-0.01", "-0.01"), ("nan", "nan"), ("1", "1.0"), ("inf", "inf"))
    for typed, shown in numbers if task == "power" else numbers[:1]:
        line = f"sd={shown}: must be a number above 0, up to 0.5; a point of mAP50-95 is 0.01"
        assert faults(f"task={task}", f"sd={typed}") == [line]
    for text in ("1%", "small") if task == "power" else ("1%",):
        assert faults(f"task={task}", f"sd={text}") == [f"sd={text}: must be of type float"]


@case(
    SECTION,
    have="`power.effects=[]`, `[2]` (points), `0.01`; `power.level=80`, `0.3`",
    here="one line that says what it must be, exit code 2",
)
def test_effects_and_levels_that_are_none() -> None:
    for typed in ("[]", "[2.0]", "[0.01,-0.01]"):
        assert "must be numbers above 0, below 1; a point is 0.01" in "".join(
            faults("task=power", f"power.effects={typed}")
        )
    assert faults("task=power", "power.effects=0.01") == ["power.effects=0.01: must be a list, [a,b]"]
    for typed in ("80.0", "0.3"):
        assert faults("task=power", f"power.level={typed}") == [f"power.level={typed}: must be from 0.5 to 0.99"]


@case(
    SECTION,
    have="`task=power` on a folder without runs, of one seed, or of seeds that are all equal, without `sd=`",
    here="one line that says why there is no spread, names the experiments that have runs and `sd=`, exit code 2",
)
def test_folders_without_a_spread(tmp_path: Path) -> None:
    assert refused("name=none").startswith("name=none: no runs in runs/none; must be ")
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "mixed"), seeds=1, pictures=False)
    assert refused("name=pilot").startswith("name=pilot: runs/pilot has no arm with two finished seeds")
    assert "must be one of pilot; or give sd=0.01" in refused("name=none")
