"""Every command of the README and of CONTRIBUTING is run: as a plan by default, for real among the slow tests."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.report import made

REPO = Path(__file__).resolve().parents[1]
TEXTS = {name: (REPO / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
COMMANDS = [
    line.split("  #")[0].strip()
    for text in TEXTS.values()
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
]
OURS = [line for line in COMMANDS if line.startswith("python -m acmix_exp")]
TRAININGS = [line for line in OURS if "--help" not in line and "task=" not in line]
TINY = "arm=baseline seed=0 train.epochs=1 train.imgsz=64 train.batch=4 hardware=cpu hardware.workers=0"

VOC = """<annotation><size><width>64</width><height>64</height><depth>3</depth></size><object><name>cell</name>
<bndbox><xmin>16</xmin><ymin>16</ymin><xmax>48</xmax><ymax>48</ymax></bndbox></object></annotation>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A newcomer's folder with the data that the README speaks of."""
    root = tmp_path_factory.mktemp("newcomer")
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / "my" / kind / split).mkdir(parents=True)
        for number in range(4):
            image = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / "my" / "images" / split / f"{split}{number}.png"), image)
            (root / "my" / "labels" / split / f"{split}{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "my" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")
    voc = root / "BCCD_Dataset" / "BCCD"
    for kind in ("Annotations", "JPEGImages"):
        (voc / kind).mkdir(parents=True)
    for number in range(8):
        image = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(voc / "JPEGImages" / f"{number}.jpg"), image)
        (voc / "Annotations" / f"{number}.xml").write_text(VOC)
    made.run(root / "runs" / "demo", "mixed", 0, epochs=2, pictures=False)
    return root


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *shlex.split(line)[1:]]
    return subprocess.run(arguments, cwd=folder, text=True, capture_output=True, timeout=300, check=False)


def test_the_first_screen_runs_something():
    assert TEXTS["README.md"].splitlines().index("make demo") < 12


def test_no_command_is_left_out():
    known = ("python -m acmix_exp", "make ", "wandb sync ")
    assert [line for line in COMMANDS if not line.startswith(known)] == []
    assert len(OURS) >= 10


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_commands_exist(line):
    result = subprocess.run(["make", "-n", *line.split()[1:]], cwd=REPO, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("line", TRAININGS)
def test_every_command_has_a_plan(folder, line):
    result = run(folder, f"{line} task=plan")
    assert result.returncode == 0, result.stderr
    assert "0 done" in result.stdout


@pytest.mark.parametrize("line", [line for line in OURS if line not in TRAININGS and "RUN" not in line])
def test_every_command_that_trains_nothing_runs(folder, line):
    assert run(folder, line).returncode == 0


def test_the_table_is_the_one_that_was_measured():
    """Between the marks stands the table of the summary they name, to the letter."""
    name, shown = re.search(r"<!-- result: (\S+) -->\n(.*?)<!-- /result -->", TEXTS["README.md"], re.DOTALL).groups()
    rows = [line for line in (REPO / name).read_text().splitlines() if line.startswith("|")]
    assert [line for line in shown.splitlines() if line.startswith("|")] == rows
    table = json.loads((REPO / name).with_suffix(".json").read_text())["tables"][0]
    assert len(rows) == len(table["rows"]) + 2


@pytest.mark.slow
@pytest.mark.parametrize("line", TRAININGS)
def test_every_command_trains(folder, line):
    tiny = f"{TINY} block.kernel_att=3 block.head=2" if "-m " in line.removeprefix("python -m ") else TINY
    result = run(folder, f"{line} {tiny}")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_what_takes_a_run_finds_what_the_demo_leaves(folder):
    assert run(folder, f"python -m acmix_exp +experiment=demo {TINY}").returncode == 0
    (directory,) = (folder / "runs" / "demo").glob("baseline-s0-*")
    lines = [line for line in OURS if "runs/demo/RUN" in line]
    assert len(lines) >= 2
    for line in lines:
        result = run(folder, line.replace("runs/demo/RUN", str(directory)) + " hardware=cpu")
        assert result.returncode == 0, result.stderr
    (line,) = [line for line in COMMANDS if line.startswith("wandb sync ")]
    assert list(folder.glob(line.split()[-1]))
