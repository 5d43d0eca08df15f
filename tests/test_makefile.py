"""The make targets: what `make help` prints, and when .venv is created, kept, updated or recreated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]

# Replaces Python, venv and pip, and logs their commands. A file `fail-pip` makes the install fail, `no-libgl` the
# import of cv2.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *"-m venv --clear .venv"*) echo venv >> log; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"-m pip install"*opencv-python-headless) echo headless >> log ;;
  *"-m pip install"*) echo pip >> log; [ ! -e fail-pip ] ;;
  *"import cv2"*) [ ! -e no-libgl ] ;;
  -c*) ;;
  *) echo "$*" >> log ;;
esac
"""


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "ARGS", "JOBS", "PYTHON")
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPO / name, tmp_path)
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return tmp_path


def log(checkout: Path) -> list[str]:
    """The commands since the last call."""
    path = checkout / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_help_lists_every_target_and_is_the_default() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (REPO / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    text = make(REPO, "help").stdout
    assert re.findall(r"^  ([a-z-]+) {2,}\S", text, re.MULTILINE) == phony[1].split()
    assert make(REPO).stdout == text


def test_continuous_integration_runs_lint_and_test() -> None:
    lines = (REPO / ".ci" / "run").read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make")] == ["make lint", "make test"]
    assert os.access(REPO / ".ci" / "run", os.X_OK)


def test_the_environment_is_created_once(checkout: Path) -> None:
    assert make(checkout, "install", "PYTHON=./fake-python").returncode == 0
    assert log(checkout) == ["venv", "pip"]
    assert make(checkout, "demo", "PYTHON=./fake-python", "ARGS=seed=1").returncode == 0
    assert log(checkout) == ["-m acmix_exp +experiment=demo seed=1"]


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_the_dependencies_is_installed(checkout: Path, changed: str) -> None:
    make(checkout, "install", "PYTHON=./fake-python")
    log(checkout)
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / changed, (later, later))
    make(checkout, "install", "PYTHON=./fake-python")
    assert log(checkout) == ["pip"]


def test_after_an_interrupted_install_the_environment_is_recreated(checkout: Path) -> None:
    (checkout / "fail-pip").touch()
    assert make(checkout, "test", "PYTHON=./fake-python").returncode != 0
    assert log(checkout) == ["venv", "pip"]
    (checkout / "fail-pip").unlink()
    assert make(checkout, "test", "PYTHON=./fake-python").returncode == 0
    assert log(checkout) == ["venv", "pip", "-m pytest -n 2 --dist loadfile"]


def test_an_environment_without_its_python_is_recreated(checkout: Path) -> None:
    make(checkout, "install", "PYTHON=./fake-python")
    log(checkout)
    (checkout / ".venv" / "bin" / "python").unlink()
    assert make(checkout, "install", "PYTHON=./fake-python").returncode == 0
    assert log(checkout) == ["venv", "pip"]


def test_without_libgl_the_headless_opencv_is_installed(checkout: Path) -> None:
    (checkout / "no-libgl").touch()
    assert make(checkout, "install", "PYTHON=./fake-python").returncode == 0
    assert log(checkout) == ["venv", "pip", "headless"]


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_an_unsupported_python_is_reported_in_one_line(checkout: Path, python: str) -> None:
    answer = make(checkout, "install", f"PYTHON={python}")
    assert answer.returncode == 2
    (message,) = [line for line in answer.stderr.splitlines() if not line.startswith("make")]
    assert "Python 3.11 or 3.12" in message
    assert python in message
    assert "make PYTHON=" in message
    assert not (checkout / ".venv").exists()
