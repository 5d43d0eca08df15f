"""The program as people run it, on a tiny data set: real processes, for what stops them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from acmix_exp.data.shapes import encode_png
from acmix_exp.run.directory import Run, runs_in

COMMON = ("dataset=yolo", "train.imgsz=64", "train.batch=4", "hardware=cpu", "hardware.workers=0", "arm=baseline")
QUIET = ("report.auto=false", "logger=disabled")


def tiny_data(root: Path) -> Path:
    """Eight training and four validation images of a bright square; returns the data.yaml."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (64, 64, 3), np.uint8)
            left, top = random.integers(0, 40, 2)
            pixels[top : top + 24, left : left + 24] = 255
            (root / "images" / split / f"{number}.png").write_bytes(encode_png(pixels))
            box = f"0 {(left + 12) / 64} {(top + 12) / 64} 0.375 0.375\n"
            (root / "labels" / split / f"{number}.txt").write_text(box)
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [square]\n")
    return root / "data.yaml"


def start(folder: Path, data: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "acmix_exp", *COMMON, *QUIET, f"dataset.path={data}", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, text=True, stdout=pipe, stderr=pipe, start_new_session=True, **options)


def finish(folder: Path, data: Path, *arguments: str, **options: Any) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    process = start(folder, data, *arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def only_run(folder: Path, name: str = "default") -> Run:
    (run,) = runs_in(folder / "runs" / name)
    return run


def wait_until(true: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def temporaries(folder: Path) -> list[Path]:
    """Hidden files below a folder, which are half-written ones, but for locks."""
    return [path for path in folder.rglob(".*") if not path.name.endswith(".lock") and path.name != ".lock"]


def cut(path: Path) -> None:
    """Leave the first half of a file, as a crash of the machine may."""
    os.truncate(path, path.stat().st_size // 2)
