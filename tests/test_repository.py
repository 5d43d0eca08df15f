"""The repository as a newcomer finds it: small files, no traces of a machine, one version, one set of checks."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import acmix_exp

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
LARGEST = 7_000_000  # bytes: the archive of 48 runs, with 300 detections on each of 121 images
BINARY = (".gz", ".npz", ".onnx", ".png", ".pt", ".xz")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := REPO / name).is_file()]


def test_no_file_is_large(tracked: list[Path]) -> None:
    assert [path for path in tracked if path.stat().st_size > LARGEST] == []


def test_no_text_names_a_folder_of_this_machine(tracked: list[Path]) -> None:
    folders = re.compile("|".join(rf"{re.escape(str(folder))}(?![\w-])" for folder in (REPO, Path.home())))
    texts = [path for path in tracked if path.suffix not in BINARY]
    assert [path for path in texts if folders.search(path.read_text(encoding="utf-8"))] == []


def test_version_and_license_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["version"] == acmix_exp.__version__
    assert citation["license"] == PROJECT["license"]
    released = re.findall(r"^## \[(\d[^\]]*)\]", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert not released or released[0] == acmix_exp.__version__


def test_the_checks_before_a_commit_are_those_of_make_lint() -> None:
    (repo,) = yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]
    commands = [hook["entry"].split(" --")[0] for hook in repo["hooks"]]
    assert commands[:2] == ["ruff check", "ruff format"]
    pins = (REPO / "constraints.txt").read_text().splitlines()
    for hook in repo["hooks"]:
        for requirement in hook["additional_dependencies"]:
            assert "==" in requirement
            assert requirement in pins or not requirement.startswith("ruff")


def test_the_workflow_runs_the_make_targets_on_every_supported_python() -> None:
    jobs = yaml.safe_load((REPO / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands.pop("timm")[0] == "make install"
    assert commands == {"lint": ["make lint"], "test": ["make test"], "docs": ["make docs"]}
    supported = [words[-1] for words in (each.split(" :: ") for each in PROJECT["classifiers"]) if "Python" in words]
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == supported


def test_the_workflow_runs_every_test_that_needs_timm() -> None:
    """With the version of constraints.txt, and those of the layers with the lowest that pyproject.toml allows."""
    workflow = yaml.safe_load((REPO / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["timm"]["steps"] if "run" in step]
    _, extra, everything, lowest, layers = commands
    needing = {
        path.relative_to(REPO).as_posix()
        for path in (REPO / "tests").rglob("test_*.py")
        if re.search(r"^from tests\.extras import .*needs_timm", path.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"tests/\S+", everything)) == needing
    assert set(re.findall(r"tests/\S+", layers)) == {path for path in needing if path.startswith("tests/nn/")}
    assert extra.endswith("--constraint constraints.txt --editable '.[timm]'")
    (requirement,) = PROJECT["optional-dependencies"]["timm"]
    assert requirement == f"timm>={lowest.rpartition('==')[2]},<1.1"
