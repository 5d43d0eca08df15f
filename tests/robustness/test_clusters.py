"""hardware=slurm where it cannot work: one line before anything is submitted or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import build
from acmix_exp.tasks.train import train
from tests.executors.fake_slurm import FakeSlurm
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import tiny_data

SECTION = "Command line"


def refusal(folder: Path, *arguments: str) -> list[str]:
    """The lines of a command that is refused, which leaves nothing behind."""
    given = ["arm=baseline", "dataset=yolo", f"dataset.path={folder / 'data' / 'data.yaml'}", *arguments]
    with pytest.raises(ConfigError) as error:
        train(build(compose_cells([*given, f"runs_dir={folder / 'runs'}"])))
    assert not (folder / "runs").exists()
    return error.value.lines


@case(SECTION, have="`hardware=slurm` where there is no sbatch", here="one line, exit code 2: use a login node")
def test_no_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tiny_data(tmp_path / "data")
    (line,) = refusal(tmp_path, "hardware=slurm")
    assert line.startswith("hardware=slurm: there is no sbatch here; run the command")


@case(
    SECTION,
    have="`hardware.slurm.partition=gpu` without `hardware=slurm`",
    here="one line, exit code 2: add hardware=slurm",
)
def test_keys_of_slurm_alone(tmp_path: Path) -> None:
    tiny_data(tmp_path / "data")
    assert refusal(tmp_path, "hardware.slurm.partition=gpu") == [
        "hardware.slurm.partition: hardware.executor=local has no use for it; add hardware=slurm"
    ]


REFUSED = {
    "`hardware.slurm.partition=` one that does not exist": (
        "hardware.slurm.partition=none",
        {},
        "hardware.slurm.partition=none: Partition none not found",
    ),
    "`hardware.slurm.time_min=` more than the partition allows, which Slurm would queue for ever": (
        "hardware.slurm.time_min=9999",
        {},
        "hardware.slurm.time_min=9999: partition gpu allows 1440 at most",
    ),
    "`hardware.slurm.mem_gb=` more than any node has, a wrong account, an option that sbatch does not know": (
        "hardware.slurm.mem_gb=9999",
        {"sbatch": "sbatch: error: Memory specification can not be satisfied"},
        "hardware=slurm: sbatch refuses: Memory specification can not be satisfied (asked of partition gpu: 5 cores, "
        "mem_gb=9999.0, 1 GPU; hardware.device=cpu asks for none)",
    ),
    "`hardware=slurm` while the controller does not answer": (
        "hardware.slurm.partition=gpu",
        {"scontrol": "slurm_load_partitions: Unable to contact slurm controller (connect failure)"},
        "hardware.slurm.partition=gpu: slurm_load_partitions: Unable to contact slurm controller (connect failure)",
    ),
}
for have in REFUSED:
    add(Row(SECTION, have, "one line with Slurm's words, exit code 2; nothing is submitted"))


@pytest.mark.parametrize("have", REFUSED)
def test_what_slurm_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, have: str) -> None:
    override, refuse, line = REFUSED[have]
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.on_path())
    cluster.set(refuse=refuse)
    tiny_data(tmp_path / "data")
    assert refusal(tmp_path, "hardware=slurm", override) == [line]
    assert cluster.state["jobs"] == []
