"""The wheel and the sdist, the pinned dependencies, the license."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import acmix_exp

REPO = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [*map(Requirement, PROJECT["dependencies"] + EXTRAS["export"])]
REQUIREMENTS = [*DECLARED, *(each for each in map(Requirement, EXTRAS["dev"]) if each.name != PROJECT["name"])]


def shipped(folder: str) -> set[str]:
    files = (path for path in (REPO / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(REPO).as_posix() for path in files}


def build(target: str, out: Path, source: Path = REPO) -> Path:
    """Build the wheel or sdist of ``source`` into ``out``."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.iterdir())


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_wheel_holds_the_package_and_conf_and_nothing_else(wheel: Path) -> None:
    expected = shipped("acmix_exp") | {f"acmix_exp/{name}" for name in shipped("conf")}
    assert {name for name in contents(wheel) if ".dist-info/" not in name} == expected


def test_the_metadata_of_the_wheel(wheel: Path) -> None:
    info = f"acmix_exp-{acmix_exp.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        described = archive.read(f"{info}/METADATA").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (REPO / "LICENSE").read_bytes()
        assert "acmix-exp = acmix_exp.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert "License-Expression: AGPL-3.0-or-later" in described
    assert "Requires-Python: <3.13,>=3.11" in described


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    command = [sys.executable, "-m", "acmix_exp", "arm=mixed", "block.kernel_att=5", "--cfg", "job"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    shown = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["block"]["kernel_att"] == 5
    assert not list(elsewhere.iterdir())


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
        archive.extractall(tmp_path / "source", filter="data")
    assert {"Makefile", "constraints.txt", "LICENSE", "README.md", "tests/conftest.py", "runs/.gitkeep"} <= names
    assert not {name for name in names if name.startswith((".venv", ".git/")) or "__pycache__" in name}
    assert {name for name in names if name.startswith("runs/")} == {"runs/.gitkeep"}

    source = tmp_path / "source" / f"acmix_exp-{acmix_exp.__version__}"
    assert contents(build("wheel", tmp_path / "wheel", source)) == contents(wheel)


# triton comes with torch on the platforms that have it; pi_heif reads HEIC where people have installed it; ray and
# timm are extras, and not of the development environment.
NOT_DECLARED = {"acmix_exp", "pi_heif", "ray", "timm", "triton"}


def test_every_import_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    providers = metadata.packages_distributions()
    for path in (REPO / "acmix_exp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - NOT_DECLARED:
                assert declared & set(map(canonicalize_name, providers[name])), f"{path}: {name}"


def test_every_pin_is_a_name_and_an_exact_version() -> None:
    lines = [line for line in (REPO / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line)] == []
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names))


# Of extras that are not part of the development environment.
OPTIONAL = [*map(Requirement, EXTRAS["docs"] + EXTRAS["ray"] + EXTRAS["timm"])]


@pytest.mark.parametrize("requirement", [*REQUIREMENTS, *OPTIONAL], ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_pin_in_its_range(requirement: Requirement, pins: dict[str, str]) -> None:
    pin = pins.get(canonicalize_name(requirement.name))
    assert pin is not None
    assert requirement.specifier.contains(pin, prereleases=True)


def test_every_indirect_dependency_has_a_pin(pins: dict[str, str]) -> None:
    seen: set[tuple[str, str]] = set()
    todo = list(REQUIREMENTS)
    while todo:
        requirement = todo.pop()
        for extra in ["", *requirement.extras]:
            if (requirement.name, extra) in seen:
                continue
            seen.add((requirement.name, extra))
            environment = {**default_environment(), "extra": extra}
            needed = map(Requirement, metadata.requires(requirement.name) or [])
            todo += [each for each in needed if not each.marker or each.marker.evaluate(environment)]
    assert {canonicalize_name(name) for name, _ in seen} - set(pins) == set()


def test_the_dev_extra_includes_the_export_extra() -> None:
    assert "acmix_exp[export]" in EXTRAS["dev"]


def test_the_license_is_the_agpl() -> None:
    text = (REPO / "LICENSE").read_text()
    assert text.split("\n")[0].strip() == "GNU AFFERO GENERAL PUBLIC LICENSE"
    assert "Version 3, 19 November 2007" in text
    assert "13. Remote Network Interaction" in text
    assert "END OF TERMS AND CONDITIONS" in text
