"""Every command and snippet of README and CONTRIBUTING is run; trainings are in the slow tests.

The pages of docs/ have test_pages.py.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.report import builders

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
    """A folder with the data that the README's commands use."""
    root = tmp_path_factory.mktemp("user")
    for split in ("train", "val"):
        for subfolder in ("images", "labels"):
            (root / "my" / subfolder / split).mkdir(parents=True)
        for number in range(4):
            image = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
            cv2.imwrite(str(root / "my" / "images" / split / f"{split}{number}.png"), image)
            (root / "my" / "labels" / split / f"{split}{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "my" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")
    voc = root / "BCCD_Dataset" / "BCCD"
    for subfolder in ("Annotations", "JPEGImages"):
        (voc / subfolder).mkdir(parents=True)
    for number in range(8):
        image = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(voc / "JPEGImages" / f"{number}.jpg"), image)
        (voc / "Annotations" / f"{number}.xml").write_text(VOC)
    builders.add_runs(root / "runs" / "demo", ("baseline", "mixed"), seeds=2, epochs=2, pictures=False)
    return root


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *shlex.split(line)[1:]]
    return subprocess.run(arguments, cwd=folder, text=True, capture_output=True, timeout=300, check=False)


def test_the_first_screen_runs_something_and_shows_the_picture():
    lines = TEXTS["README.md"].splitlines()
    (picture,) = [line for line in lines if line.startswith("![")]
    assert lines.index("make demo") < 12
    assert lines.index(picture) < 20
    assert (REPO / re.search(r"\((.*)\)", picture)[1]).is_file()


def test_every_command_is_of_a_known_program():
    known = ("python -m acmix_exp", "python -m scripts.", "make ")
    assert [line for line in COMMANDS if not line.startswith(known)] == []
    assert len(OURS) >= 10


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_commands_exist(line):
    result = subprocess.run(["make", "-n", *line.split()[1:]], cwd=REPO, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


QUICK = [line for line in OURS if line not in TRAININGS and "RUN" not in line]
PROFILES = {line: pytest.mark.slow for line in QUICK if "task=profile" in line}


@pytest.mark.parametrize("line", [pytest.param(line, marks=PROFILES.get(line, ())) for line in QUICK])
def test_every_command_that_trains_nothing_runs(folder, line, monkeypatch, program):
    monkeypatch.chdir(folder)
    assert program(*shlex.split(line)[3:])[0] == 0


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_table_is_the_committed_summary(page):
    """Between the markers are columns of the summary that they name, to the letter."""
    readme = (REPO / page).read_text(encoding="utf-8")
    name, text = re.search(r"<!-- result: (\S+) -->\n(.*?)<!-- /result -->", readme, re.DOTALL).groups()
    shown, published = columns(text), columns((REPO / name).read_text(encoding="utf-8"))
    assert {"arm", "95 % CI (simultaneous)", "verdict"} <= set(shown)
    assert shown == {heading: published[heading] for heading in shown}


def columns(markdown: str) -> dict[str, tuple[str, ...]]:
    """The cells below each heading of the table."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", markdown, re.M)]
    return {heading: tuple(cells) for heading, _, *cells in zip(*rows, strict=True)}


def test_lines_are_short_except_in_tables():
    for name, text in TEXTS.items():
        prose = re.sub(r"<!-- result: .*?<!-- /result -->", "", text, flags=re.DOTALL)
        long = [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]
        assert long == [], name


def test_the_tree_names_what_exists():
    (tree,) = re.findall(r"```\n(├── conf .*?)```", TEXTS["CONTRIBUTING.md"], re.DOTALL)
    parents: list[str] = []
    for line in tree.splitlines():
        indent, entry = re.match(r"((?:│   |    )*)(?:[├└]── (\S+)|│?$)", line).groups()
        if entry:
            parents = [*parents[: len(indent) // 4], entry]
            assert REPO.joinpath(*parents).exists(), line
    packages = {path.parent.name for path in REPO.glob("acmix_exp/*/__init__.py")}
    assert packages <= set(re.findall(r"[├└]── (\S+)", tree))


SNIPPETS = re.findall(r"```python\n(.*?)```", TEXTS["README.md"], re.DOTALL)
TRAINS = [snippet for snippet in SNIPPETS if ".train(" in snippet]


@pytest.mark.parametrize(
    "snippets",
    [
        pytest.param([snippet for snippet in SNIPPETS if snippet not in TRAINS], id="quick"),
        pytest.param(TRAINS, id="trainings", marks=pytest.mark.slow),
    ],
)
def test_every_python_snippet_runs(folder, snippets):
    """One process runs them one after another, for its imports take seconds."""
    with tarfile.open(REPO / "tests" / "fixtures" / "version_0_1.tar.xz") as archive:
        archive.extractall(folder / "archive", filter="data")
    checkpoint = next((folder / "archive").glob("*/mixed-s0-*/weights/best.pt"))
    trained = f"batch=4, device='cpu', workers=0, plots=False, project={str(folder / 'trained')!r})"
    texts = [
        snippet.replace("runs/demo/RUN/weights/best.pt", str(checkpoint))
        .replace("batch=4)", trained)
        .replace("image.jpg", "my/images/val/val0.png")
        for snippet in snippets
    ]
    code = "\n".join(f"exec(compile({text!r}, 'snippet {number}', 'exec'), {{}})" for number, text in enumerate(texts))
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder / "settings")}
    environment.pop("PYTEST_CURRENT_TEST", None)  # with it ultralytics saves beside its own installation
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert texts
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", TRAININGS)
def test_every_command_trains(folder, line):
    tiny = f"{TINY} block.kernel_att=3 block.head=2" if "-m " in line.removeprefix("python -m ") else TINY
    result = run(folder, f"{line} {tiny}")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_commands_that_take_a_run_work_on_a_run_of_the_demo(folder):
    assert run(folder, f"python -m acmix_exp +experiment=demo name=trained {TINY} arm=baseline,conv").returncode == 0
    directory, other = sorted((folder / "runs" / "trained").glob("*-s0-*"))
    lines = [line for line in OURS if "runs/demo/RUN" in line]
    assert len(lines) >= 2
    for line in lines:
        paths = line.replace("runs/demo/RUN", str(directory)).replace("runs/demo/OTHER", str(other))
        result = run(folder, f"{paths} hardware=cpu")
        assert result.returncode in ((0, 10, 11, 12) if "task=judge" in line else (0,)), result.stderr
