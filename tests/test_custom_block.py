"""User-defined blocks: the commands of docs/custom_block.md run, and an invalid block is refused in one line."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp import custom_block
from acmix_exp.nn import build_block
from acmix_exp.nn.custom import try_custom_block

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "custom_block.md").read_text(encoding="utf-8")
CODE, YAML = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1] for kind in ("python", "yaml"))
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
TINY = "dataset=shapes train=quick train.epochs=2 train.imgsz=64 hardware=cpu hardware.workers=0 logger=disabled"
WRONG = """
import torch
from torch import nn
from my_module import MyBlock

class Cuts(MyBlock):
    def forward(self, x):
        return super().forward(x)[..., 1:]

class Unused(MyBlock):
    def forward(self, x):
        return x * self.down.weight.sum() * self.down.bias.sum() * self.up.weight.sum()

class Detached(MyBlock):
    def forward(self, x):
        return super().forward(x.detach())

class Frozen(nn.Identity):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        return x.detach()

class EvenOnly(MyBlock):
    def forward(self, x):
        return nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(super().forward(x), 2), 2)

class Pair(MyBlock):
    def forward(self, x):
        return x, x

class Local(MyBlock):
    def __init__(self, channels):
        super().__init__(channels)
        self.act = lambda x: x

class Indexed(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.seq = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        y = self.seq[0](x)
        return x + self.scale * (y + self.seq[1](y))

class Whole(Indexed):
    def forward(self, x):
        return x + self.scale * self.seq(x)

class LeftAlone(Indexed):
    def fuse(self):
        pass

class FusesWrongly(Whole):
    def fuse(self):
        self.seq = self.seq[0]

class TakesTheNorm(Whole):
    def __init__(self, channels, wrong=False):
        super().__init__(channels)
        self.norm, self.wrong = nn.Identity(), wrong

    def forward(self, x):
        return self.norm(super().forward(x))

    def fuse(self, norm=None):
        if norm is not None and not self.wrong:
            self.norm = norm

class Noisy(MyBlock):
    def forward(self, x):
        return super().forward(x) + torch.rand_like(x)

def number(channels):
    return channels
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the module of the page and one with invalid blocks."""
    (tmp_path / "my_module.py").write_text(CODE)
    (tmp_path / "my_wrong.py").write_text(WRONG)
    (tmp_path / "conf" / "block").mkdir(parents=True)
    (tmp_path / "conf" / "block" / "mine.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_module", "my_wrong"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *shlex.split(line)[1:]]
    return subprocess.run(arguments, cwd=folder, text=True, capture_output=True, timeout=400, check=False)


@pytest.mark.parametrize(
    ("block", "label"),
    [
        ({"name": "custom", "target": "my_module.MyBlock"}, "myblock"),
        ({"target": "my_module.MyBlock"}, "myblock"),
        ({"name": "mine", "target": "my_module.MyBlock"}, "mine"),
        ({"name": "custom", "target": "package.inner.Squeeze_V2"}, "squeeze_v2"),
    ],
)
def test_label(block, label):
    assert custom_block.is_custom(block)
    assert custom_block.label(block) == label


@pytest.mark.parametrize(
    ("block", "line"),
    [
        ({"name": "custom", "target": None}, "block.target=null: must be MODULE.CLASS"),
        ({"name": "custom", "target": "MyBlock"}, "block.target=MyBlock: must be MODULE.CLASS"),
        ({"name": "custom", "target": "my module.X"}, "block.target=my module.X: must be MODULE.CLASS"),
        ({"name": "custom", "target": "nowhere.X"}, "block.target=nowhere.X: no module nowhere in "),
        ({"name": "custom", "target": "acmix_exp.nowhere.X"}, "no module acmix_exp.nowhere in "),
        ({"name": "custom", "target": "my_module.Mixed"}, "its label, mixed, is that of an arm or block"),
        ({"name": "mixed", "target": "my_module.MyBlock"}, "its label, mixed, is that of an arm or block"),
        ({"name": "a/b", "target": "my_module.MyBlock"}, "block.name=a/b: must be letters"),
    ],
)
def test_static_checks(folder, block, line):
    (fault,) = custom_block.faults(block, taken=["mixed"])
    assert line in fault


def test_the_module_is_found_and_not_imported(folder):
    assert custom_block.source("my_module.MyBlock") == folder / "my_module.py"
    assert custom_block.faults({"name": "custom", "target": "my_module.MyBlock"}, taken=[]) == []
    assert "my_module" not in sys.modules
    package = custom_block.source("acmix_exp.nn.acmix.ACmix")
    assert package is not None
    assert package.name == "acmix.py"


def test_it_is_built_by_its_target(folder):
    block = build_block("custom", 16, target="my_module.MyBlock", reduction=8)
    assert type(block).__name__ == "MyBlock"
    assert block.down.out_channels == 2
    try_custom_block([16, 80], "my_module.MyBlock", {"reduction": 8})


@pytest.mark.parametrize(
    ("target", "options", "line"),
    [
        ("my_wrong.Nothing", {}, "my_wrong has no class Nothing"),
        ("my_wrong.number", {}, "number(16) is a int; must be a torch.nn.Module"),
        (
            "my_module.MyBlock",
            {"reductoin": 2},
            "MyBlock(16, reductoin=2) raised TypeError: MyBlock.__init__() got an unex",
        ),
        (
            "my_module.MyBlock",
            {"reduction": 0},
            "raised ZeroDivisionError: integer division or modulo by zero (my_module",
        ),
        ("my_wrong.Cuts", {}, "Cuts(16) on a map of 8 x 8 gives (2, 16, 8, 7) torch.float32; must keep the shape"),
        ("my_wrong.Unused", {}, "Unused(16) on a map of 8 x 8 does not use its parameter up.bias"),
        ("my_wrong.Detached", {}, "Detached(16) on a map of 8 x 8 passes no gradient to its input"),
        ("my_wrong.Frozen", {}, "Frozen(16) on a map of 8 x 8 gives an output without gradient"),
        ("my_wrong.EvenOnly", {}, "EvenOnly(16) on a map of 5 x 7 raised RuntimeError: pixel_unshuffle expects"),
        ("my_wrong.Pair", {}, "Pair(16) on a map of 8 x 8 gives a tuple; must give one tensor"),
        ("my_wrong.Local", {}, "Local cannot be copied or saved after a step: "),
        (
            "my_wrong.Indexed",
            {},
            "; call a Sequential of a convolution and its BatchNorm as a whole, or give the class a fuse() that does n",
        ),
        ("my_wrong.FusesWrongly", {}, "; correct its fuse()"),
        (
            "my_wrong.TakesTheNorm",
            {"wrong": True},
            "TakesTheNorm(16) gives another output once fused for inference, by",
        ),
    ],
)
def test_invalid_blocks_are_refused(folder, target, options, line):
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        try_custom_block([16], target, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Whole", "LeftAlone", "TakesTheNorm", "Noisy"])
def test_valid_blocks_pass(folder, name):
    try_custom_block([16], f"my_wrong.{name}", {})


@pytest.mark.parametrize(
    "target", ["ema.EMAttention", "dlka.DLKABlock", "lsk.lsk_block", "lska.LSKABlock", "sea_attention.SeaBlock"]
)
def test_the_shipped_blocks_pass(target):
    try_custom_block([16], f"acmix_exp.nn.{target}", {})


def test_the_pages_commands_have_a_plan(folder):
    (ours,) = [line for line in COMMANDS if "block=custom" in line]
    result = run(folder, f"{ours} task=plan hardware=cpu")
    assert result.returncode == 0, result.stderr
    assert "myblock-s0-" in result.stdout


@pytest.mark.slow
def test_an_invalid_block_starts_no_run(folder):
    result = run(folder, f"python -m acmix_exp block=custom block.target=my_wrong.Cuts {TINY}")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("acmix_exp: block.target=my_wrong.Cuts: Cuts(128) on a map of")
    assert not (folder / "runs").exists()


@pytest.mark.slow
def test_train_reload_evaluate_and_resume(folder):
    for line in COMMANDS:
        result = run(folder, f"{line} {TINY}")
        assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader((folder / "runs" / "mine" / "summary.csv").open()))
    assert [row["arm"] for row in rows] == ["baseline", "mixed", "myblock"]
    assert len(json.loads((folder / "runs" / "mine" / "summary.json").read_text())["tables"]) == 1

    (directory,) = (folder / "runs" / "mine").glob("myblock-s0-*")
    read = f"from ultralytics import YOLO; print(type(YOLO('{directory}/weights/best.pt').model).__name__)"
    assert "BlockDetectionModel" in run(folder, f"python -c {shlex.quote(read)}").stdout
    evaluate = f"python -m acmix_exp task=evaluate run={directory} hardware=cpu"
    assert run(folder, evaluate).returncode == 0
    elsewhere = run(folder / "conf", evaluate)
    assert elsewhere.returncode == 2
    assert elsewhere.stderr.startswith("acmix_exp: block.target=my_module.MyBlock: no module my_module in ")

    status = json.loads((directory / "status.json").read_text())
    (directory / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    (directory / "result.json").unlink()
    (ours,) = [line for line in COMMANDS if "block=custom" in line]
    assert run(folder, f"{ours} {TINY}").returncode == 0
    assert json.loads((directory / "status.json").read_text())["resumed"]

    changed = (folder / "my_module.py").read_text() + "\n# another version\n"
    (folder / "my_module.py").write_text(changed)
    plan = run(folder, f"{ours} {TINY} task=plan")
    assert "pending" in plan.stdout, "another version is another run"


@pytest.mark.slow
def test_options_in_a_file(folder):
    result = run(folder, f"python -m acmix_exp --config-dir conf block=mine name=mine task=plan {TINY}")
    assert result.returncode == 0, result.stderr
    assert "mine-s0-" in result.stdout
