"""Run directories and checkpoints that version 0.1 wrote still open, report and repeat; unfinished ones start anew.

The archive holds five tiny runs made by the last commit of 0.1, their weights set to zero: baseline, mixed, hat and
deformable_attention are done, mixed with seed 1 was interrupted after two of six epochs, before the second checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from acmix_exp import moved

ARCHIVE = Path(__file__).parent / "fixtures" / "version_0_1.tar.xz"
OPEN = """
import acmix_exp  # registers the classes for restricted loading
import sys
from ultralytics import YOLO
import torch
for path in sys.argv[1:]:
    model = YOLO(path).model.float()
    model(torch.zeros(1, 3, 64, 64))
    print(type(model).__module__, sum(1 for _ in model.parameters()))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("runs")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(target, filter="data")
    return target / "version_0_1"


def checkpoints(folder: Path) -> list[str]:
    paths = sorted(str(path) for path in folder.glob("*/weights/best.pt"))
    assert len(paths) == 5
    return paths


def test_the_checkpoints_open(folder: Path):
    import torch
    from ultralytics import YOLO

    networks = [YOLO(path).model.float() for path in checkpoints(folder)]
    for network in networks:
        network(torch.zeros(1, 3, 64, 64))
    assert sum(type(network).__module__ == "acmix_exp.yolo.model" for network in networks) == 4


@pytest.mark.slow
@pytest.mark.parametrize("safe", [pytest.param("", id="pickle"), pytest.param("1", id="safe load")])
def test_stock_ultralytics_opens_the_checkpoints(folder: Path, safe: str):
    paths = checkpoints(folder)
    environment = {**os.environ, "YOLO_OFFLINE": "true", "ULTRALYTICS_SAFE_LOAD": safe}
    opened = subprocess.run(
        [sys.executable, "-c", OPEN, *paths], env=environment, capture_output=True, text=True, check=False
    )
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.count("acmix_exp.yolo.model") == 4


def test_the_folder_is_reported(folder: Path, program: Any):
    code, _, err = program("task=report", f"name={folder.name}", f"runs_dir={folder.parent}")
    assert code == 0, err
    table = (folder / "summary.csv").read_text()
    assert all(arm in table for arm in ("baseline", "mixed", "hat", "deformable_attention"))


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "acmix_exp", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder.parent)


@pytest.mark.slow
def test_the_interrupted_run_starts_anew_and_says_so(folder: Path):
    """Its samples were drawn by loader worker."""
    (old,) = folder.glob("mixed-s1-*")
    words = "train=quick train.epochs=6 train.imgsz=32 train.batch=16 logger=disabled hardware=cpu arm=mixed seed=1"
    place = f"name={folder.name}", f"runs_dir={folder.parent}"
    ended = command(folder, *words.split(), *place, "report.auto=false")
    assert ended.returncode == 0, ended.stderr
    why = "because this version draws samples in another way (protocol 2)"
    assert f"{old.name}: not continued, but started anew, {why}" in ended.stderr
    (run,) = set(folder.glob("mixed-s1-*")) - {old}
    epochs = [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()[1:]]
    assert epochs == ["1", "2", "3", "4", "5", "6"]
    assert "resumed after" not in (run / "train.log").read_text()
    tables = (folder / "summary.md").read_text()
    assert "samples drawn by protocol 1" in tables
    assert "samples drawn by protocol 2" in tables


@pytest.mark.slow
def test_a_finished_run_is_evaluated_and_repeated(folder: Path):
    (run,) = (path for path in folder.glob("baseline-s0-*") if (path / "result.json").exists())
    evaluated = command(folder, "task=evaluate", f"run={run}", "split=val", "hardware=cpu")
    assert evaluated.returncode == 0, evaluated.stderr
    repeated = command(folder, "task=repeat", f"run={run}")
    assert repeated.returncode == 1, repeated.stderr  # the weights of the archive are zero
    assert "samples were drawn by protocol 1, now by 2: its repeat will differ" in repeated.stderr


@pytest.mark.parametrize(("old", "name"), [("conv3x3", "Conv3x3"), ("identity", "Identity"), ("residual", "Residual")])
def test_an_old_class_path_gives_the_moved_class(old: str, name: str):
    module = import_module(f"acmix_exp.nn.{old}")
    assert getattr(module, name).__name__ == name
    assert getattr(module, name).__module__ == moved.MODULES[f"acmix_exp.nn.{old}"]
