"""Run directories and checkpoints that version 0.1 wrote still open, report and resume.

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


@pytest.mark.parametrize("safe", ["", "1"], ids=["pickle", "safe load"])
def test_stock_ultralytics_opens_the_checkpoints(folder: Path, safe: str):
    paths = sorted(str(path) for path in folder.glob("*/weights/best.pt"))
    assert len(paths) == 5
    environment = {**os.environ, "YOLO_OFFLINE": "true", "ULTRALYTICS_SAFE_LOAD": safe}
    opened = subprocess.run(
        [sys.executable, "-c", OPEN, *paths], env=environment, capture_output=True, text=True, check=False
    )
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.count("acmix_exp.yolo.model") == 4


def test_the_folder_is_reported(folder: Path):
    report = subprocess.run(
        [sys.executable, "-m", "acmix_exp", "task=report", f"name={folder.name}", f"runs_dir={folder.parent}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 0, report.stderr
    table = (folder / "summary.csv").read_text()
    assert all(arm in table for arm in ("baseline", "mixed", "hat", "deformable_attention"))


@pytest.mark.slow
def test_the_interrupted_run_resumes(folder: Path):
    command = "train=quick train.epochs=6 train.imgsz=32 train.batch=16 logger=disabled hardware=cpu arm=mixed seed=1"
    resumed = subprocess.run(
        [
            *(sys.executable, "-m", "acmix_exp", *command.split(), "report.auto=false"),
            *(f"name={folder.name}", f"runs_dir={folder.parent}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    (run,) = folder.glob("mixed-s1-*")
    epochs = [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()[1:]]
    assert epochs == ["1", "2", "3", "4", "5", "6"]
    assert "resumed after epoch 1" in (run / "train.log").read_text()


@pytest.mark.parametrize(("old", "name"), [("conv3x3", "Conv3x3"), ("identity", "Identity"), ("residual", "Residual")])
def test_an_old_class_path_gives_the_moved_class(old: str, name: str):
    module = import_module(f"acmix_exp.nn.{old}")
    assert getattr(module, name).__name__ == name
    assert getattr(module, name).__module__ == moved.MODULES[f"acmix_exp.nn.{old}"]
