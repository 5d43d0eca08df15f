"""Every command that reads a checkpoint refuses one that asks for code, in one line, before anything starts."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from acmix_exp.run.directory import Run
from tests.robustness.cases import case
from tests.robustness.commands import COMMON, QUIET, finish, only_run, tiny_data
from tests.robustness.evil_files import SHELL, TRACE, command, name, refused, text, with_opcodes

SECTION = "Checkpoints"
ARCHIVE = Path(__file__).parents[1] / "fixtures" / "version_0_1.tar.xz"
SYSTEM = name("posix.system") + text(SHELL) + b"\x85R"
ALLOW = "allow_unsafe_checkpoint=true"
BLOCK = """
from torch import nn

class MyBlock(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)
        self.form = Form()

class Form:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with runs of version 0.1 whose checkpoints call a shell."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    for path in tmp_path.glob("runs/*/*/weights/*.pt"):
        spoil(path)
    return tmp_path


def spoil(path: Path) -> None:
    """Let a checkpoint call a shell, and the run's record of it, if there is one, agree."""
    path.write_bytes(with_opcodes(path, path.with_suffix(".new"), SYSTEM).read_bytes())
    path.with_suffix(".new").unlink()
    record = path.parents[1] / "provenance.json"
    facts = json.loads(record.read_text())
    facts.pop("weights", None)
    record.write_text(json.dumps(facts))


def run_of(folder: Path, arm: str) -> Path:
    (path,) = folder.glob(f"runs/*/{arm}-*")
    return path.relative_to(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        "task=evaluate",
        pytest.param("task=export format=torchscript", marks=pytest.mark.slow),
        pytest.param("task=repeat", marks=pytest.mark.slow),
    ],
)
@case(
    SECTION,
    have="a copied run whose weights call os.system, for `task=evaluate`, `task=export` or `task=repeat`",
    here="one line that names posix.system, exit code 2; never run",
)
def test_a_copied_run(task: str, folder: Path) -> None:
    line = refused(command(folder, *task.split(), f"run={run_of(folder, 'baseline-s0')}"), folder, "posix.system")
    assert line.startswith(f"acmix_exp: run={run_of(folder, 'baseline-s0')}: ")
    assert ALLOW in line


@pytest.mark.slow
@case(
    SECTION,
    have="`allow_unsafe_checkpoint=true` on the command line of the same",
    here="it is read, and that is said in a line of its own",
)
def test_it_can_be_allowed(folder: Path) -> None:
    done = command(folder, "task=evaluate", f"run={run_of(folder, 'baseline-s0')}", "hardware=cpu", ALLOW)
    assert done.returncode == 0, done.stderr
    assert ".pt is read by full unpickling, which runs what it names" in done.stderr
    assert list(folder.rglob(TRACE))


@pytest.mark.slow
@case(
    SECTION,
    have="an interrupted run whose last.pt or best.pt was replaced by one that calls os.system",
    here="the same command and `task=plan` refuse it before anything starts, naming posix.system; nothing is deleted",
)
def test_a_replaced_checkpoint(tmp_path: Path) -> None:
    data, train = tiny_data(tmp_path / "data"), ("train=quick", "train.epochs=1")
    code, _, err = finish(tmp_path, data, *train)
    assert code == 0, err
    run = only_run(tmp_path)
    run.set_status(status="interrupted")
    (run.path / "result.json").unlink()
    again = (*COMMON, *QUIET, f"dataset.path={data}", *train)
    for file in ("best.pt", "last.pt"):
        weights = run.path / "weights" / file
        good = weights.read_bytes()
        spoil(weights)
        for task in ("task=plan", "task=train"):
            line = refused(command(tmp_path, *again, task), tmp_path, "posix.system")
            assert f"weights/{file}: not read" in line
            assert "without the file the run restarts from scratch" in line
        weights.write_bytes(good)
    code, out, err = finish(tmp_path, data, *train)
    assert code == 0, out + err
    assert "restarted from scratch" not in out + err


@pytest.mark.slow
@case(SECTION, have="the same file as `model.pretrained` of `task=plan`", here="refused in the same words")
def test_a_plan_of_pretrained_weights(stock: Path, tmp_path: Path) -> None:
    with_opcodes(stock, tmp_path / "weights.pt", SYSTEM)
    plan = ("task=plan", "arm=baseline", "hardware=cpu")
    refused(command(tmp_path, *plan, "model.pretrained=weights.pt"), tmp_path, "posix.system")
    (tmp_path / "text.pt").write_text("not weights")
    refused(command(tmp_path, *plan, "model.pretrained=text.pt"), tmp_path, "a text file")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["train", "profile"])
def test_pretrained_weights(task: str, stock: Path, tmp_path: Path) -> None:
    with_opcodes(stock, tmp_path / "weights.pt", SYSTEM)
    with_opcodes(stock, tmp_path / "weights.pth", SYSTEM)
    common = (f"task={task}", "arm=baseline", "hardware=cpu", "logger=disabled")
    for weights in (
        ("model.pretrained=weights.pt",),
        ("model=yolov8_mobilenetv3_small", "model.pretrained=weights.pth"),
    ):
        refused(command(tmp_path, *common, *weights), tmp_path, "posix.system")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@case(
    SECTION,
    have="a run with a block of one's own whose last.pt was replaced by one that calls os.system",
    here="refused before anything starts; what the block itself needs is allowed",
)
def test_the_checkpoints_of_a_block_of_ones_own(tmp_path: Path) -> None:
    data, environment = tiny_data(tmp_path / "data"), {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "my_module.py").write_text(BLOCK)
    train = ("block=custom", "block.target=my_module.MyBlock", "arm=configured", "train=quick", "train.epochs=1")
    code, _, err = finish(tmp_path, data, *train, env=environment)
    assert code == 0, err
    (path,) = (tmp_path / "runs" / "default").glob("myblock-*")
    copied = shutil.copytree(path, tmp_path / "elsewhere" / path.name)
    for weights in copied.glob("weights/*.pt"):
        spoil(weights)
    for task in ("task=evaluate", "task=export format=torchscript", "task=repeat"):
        refused(command(tmp_path, *task.split(), f"run={copied}"), tmp_path, "posix.system")
    run = Run(path)
    run.set_status(status="interrupted")
    (path / "result.json").unlink()
    good = run.last.read_bytes()
    shutil.copy(copied / "weights" / "last.pt", run.last)
    line = refused(command(tmp_path, *COMMON, *QUIET, f"dataset.path={data}", *train), tmp_path, "posix.system")
    assert "weights/last.pt: not read" in line
    run.last.write_bytes(good)
    code, _, err = finish(tmp_path, data, *train, env=environment)
    assert code == 0, err
    assert run.is_done()
