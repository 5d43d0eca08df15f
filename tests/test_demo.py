"""The demo: its network and weights, which this package ships, and, slow, how little its runs differ."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from acmix_exp import files
from acmix_exp.data.shapes import NAMES
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import _portable
from acmix_exp.yolo import checkpoint_file
from acmix_exp.yolo.families import own_yaml
from acmix_exp.yolo.pretrained import find_pretrained

# The instructions that oneDNN and PyTorch use are those of an older processor; their sums have other rounding errors.
PROCESSORS = {"as it is": {}, "without AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}


@pytest.fixture(scope="module")
def demo():
    return [arm.apply(cell.config) for cell in compose_cells(["+experiment=demo", "hardware=cpu"])]


def test_it_has_three_seeds_an_arm_of_one_network(demo):
    assert {config.seed for config in demo} == {0, 1, 2}
    assert len(demo) == 3 * len({config.arm.name for config in demo}) == 12
    assert len({(config.model.yaml, config.model.pretrained) for config in demo}) == 1


def test_its_weights_are_small_and_of_its_network_and_classes(demo):
    """Read without torch: the structure, and the names in the file."""
    model = demo[0].model
    path = find_pretrained(model)
    assert path.stat().st_size < 2_000_000
    found = checkpoint_file.read(path)
    checkpoint_file.require_safe("weights", found)
    network = checkpoint_file.network(found.root)
    recorded = checkpoint_file.yaml_of(network)
    assert {key: recorded[key] for key in ("backbone", "head")} == {
        key: own_yaml(model)[key] for key in ("backbone", "head")
    }
    assert recorded["nc"] == own_yaml(model)["nc"] == len(NAMES)
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        names = archive.read(name)
    assert re.findall(rb"/\w+/[\w./-]+", names) == []  # no path of the machine that made it


def test_a_file_of_the_user_goes_before_the_shipped_one(demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert find_pretrained(demo[0].model) == files.shipped("yolov8_mini.pt")
    (tmp_path / "yolov8_mini.pt").touch()
    assert find_pretrained(demo[0].model) == (tmp_path / "yolov8_mini.pt").resolve()
    assert files.shipped("../files.py") is None


def test_what_a_run_directory_says_can_be_read_from_any_folder(demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shipped = _portable(demo[0]).model
    assert (shipped.yaml, shipped.pretrained) == ("yolov8_mini.yaml", "yolov8_mini.pt")
    path = tmp_path / "mine.yaml"
    path.write_bytes(files.shipped("yolov8_mini.yaml").read_bytes())
    (cell,) = compose_cells(["model.yaml=mine.yaml", "hardware=cpu"])
    assert _portable(cell.config).model.yaml == str(path.resolve())


@pytest.mark.slow
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_baseline_is_the_same_within_004_map50(processor: str, tmp_path: Path):
    command = [sys.executable, "-m", "acmix_exp", "+experiment=demo", "arm=baseline", "hardware=cpu", "logger=disabled"]
    environment = {**os.environ, **PROCESSORS[processor]}
    subprocess.run([*command, "report.auto=false"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/demo/*/result.json")]
    scores = [result["metrics"]["map50"] for result in results]
    assert len(scores) == 3
    assert min(scores) > 0.6
    assert max(scores) - min(scores) < 0.04
