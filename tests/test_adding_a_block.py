"""CONTRIBUTING's way to add a block, followed in a copy of the repository: a file, a line and a command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("acmix_exp", "conf", "benchmarks", "scripts", "docs/blocks.md")
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding a block")[2].partition("\n## ")[0]
(PATH, FILE), (_, LINE) = re.findall(r"```python\n# (\S+?),?(?: in RULES)?\n(.*?)```", SECTION, re.DOTALL)
COMMAND = re.findall(r"```bash\n(.*?)\n```", SECTION, re.DOTALL)
CHECK = """
import sys
import torch
from acmix_exp.nn import build_block
block = build_block("channel_gate", 16)
assert block.down.out_channels == 4
assert block(torch.zeros(1, 16, 5, 7)).shape == (1, 16, 5, 7)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            (folder / name).parent.mkdir(parents=True)
            shutil.copy(ROOT / name, folder / name)
    before = contents(folder)
    (folder / PATH).write_text(FILE, encoding="utf-8")
    rules = folder / "acmix_exp" / "block_rules.py"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace('    "identity": Block(', f'{LINE}    "identity": Block(', 1), encoding="utf-8")
    assert len(LINE.splitlines()) == 1
    (command,) = COMMAND
    assert run(folder, *command.split()[1:]).returncode == 0
    after = contents(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {PATH, "acmix_exp/block_rules.py", "conf/block/channel_gate.yaml", "docs/blocks.md"}
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder), "YOLO_OFFLINE": "true"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_its_files_are_written(copy: Path):
    assert "reduction: 4" in (copy / "conf" / "block" / "channel_gate.yaml").read_text(encoding="utf-8")
    page = (copy / "docs" / "blocks.md").read_text(encoding="utf-8")
    assert "| channel_gate | reduction | 4 | a whole number from 1 | ratio of channels |" in page
    assert "| channel_gate |  | 2,128 |" in page, "its costs"


@pytest.mark.slow
def test_it_is_built_with_its_default(copy: Path):
    result = run(copy, "-c", CHECK)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_command_line_knows_it(copy: Path):
    common = ("-m", "acmix_exp", "block=channel_gate", "hardware=cpu", "task=plan")
    result = run(copy, *common, "block.reduction=8")
    assert result.returncode == 0, result.stderr
    assert "channel_gate" in result.stdout
    result = run(copy, *common, "block.reduction=0")
    assert (result.returncode, result.stderr) == (2, "acmix_exp: block.reduction=0: must be a whole number from 1\n")
