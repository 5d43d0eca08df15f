"""Everything that a run is trained from, in one folder, with the ways in which people change it under a sweep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.data.builders import VocSet, write_image
from tests.robustness.commands import tiny_data

SMALL = (
    *("train.imgsz=64", "train.batch=4", "hardware=cpu", "hardware.workers=0", "logger=disabled", "report.auto=false"),
    "name=run",
)
BLOCK = """from torch import nn
import my_parts


class MyBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * my_parts.SCALE + self.gate(x)
"""


class World:
    """A YOLO set, a link to its images, a VOC folder, a block with a module that it imports, pretrained weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny_data(folder / "real")
        shutil.copytree(folder / "real", folder / "other")
        for image in (folder / "other" / "images" / "val").iterdir():
            write_image(image, 7, 64, 64)
        (folder / "set").symlink_to(folder / "real")
        self.voc = VocSet(folder / "voc")
        self.voc.write_list("train", "p0 p1 p2 p3 p4 p5")
        self.voc.write_list("val", "p6 p7 p8")
        (folder / "my_block.py").write_text(BLOCK)
        (folder / "my_parts.py").write_text("SCALE = 1.0\n")
        self.weights = folder / "start.pt"
        self.weights.write_bytes(b"weights")

    def path(self, name: str) -> Path:
        return self.folder / name

    def edit(self, name: str, old: str, new: str, *, unseen: bool = False) -> None:
        """unseen: the time of modification stays, as that of a file which is synchronised or unpacked."""
        path = self.path(name)
        before, text = path.stat(), path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        if unseen:
            assert path.stat().st_size == before.st_size
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def snapshot(self) -> Callable[[], None]:
        """A function that puts back what is in the folder now, but for runs/ and cache/."""
        files = {path: os.readlink(path) if path.is_symlink() else path.read_bytes() for path in self._files()}

        def restore() -> None:
            for path in self._files():
                path.unlink()
            for path, content in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(content) if isinstance(content, str) else path.write_bytes(content)

        return restore

    def _files(self) -> list[Path]:
        skipped = (self.path("runs"), self.path("cache"))
        return [
            path
            for path in self.folder.rglob("*")
            if (path.is_symlink() or path.is_file()) and not any(path.is_relative_to(each) for each in skipped)
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.path("cache"))}
        return subprocess.Popen(
            [sys.executable, "-m", "acmix_exp", *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def finish(self, *arguments: str) -> tuple[int, str]:
        """Exit code and stderr of a command."""
        process = self.start(*arguments)
        _, err = process.communicate(timeout=300)
        return process.returncode, err


YOLO = ("dataset=yolo", "dataset.path=set/data.yaml")
VOC = ("dataset=voc_xml", "dataset.path=voc")


@dataclass(frozen=True)
class Input:
    """have: what people change. named: what the error says of it."""

    have: str
    change: Callable[[World], Any]
    named: str
    arguments: tuple[str, ...] = (*YOLO, "arm=baseline")

    @property
    def of_data(self) -> bool:
        return self.named.startswith("data set")


def _retarget(world: World) -> None:
    world.path("set").unlink()
    world.path("set").symlink_to(world.path("other"))


def _swap_weights(world: World) -> None:
    content = bytearray(world.weights.read_bytes())
    content[-1] ^= 1
    before = world.weights.stat()
    world.weights.write_bytes(content)
    os.utime(world.weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def _add_image(world: World) -> None:
    write_image(world.path("real/images/train/new.png"), 9, 64, 64)
    world.path("real/labels/train/new.txt").write_text("0 0.5 0.5 0.5 0.5\n")


OWN_BLOCK = (*YOLO, "arm=configured", "block=custom", "block.target=my_block.MyBlock")
PRETRAINED = (*YOLO, "arm=baseline", "model.pretrained=start.pt")
OBJECT = "<xmin>10</xmin>"
INPUTS = {
    "image": Input(
        "an image replaced",
        lambda world: write_image(world.path("real/images/train/0.png"), 5, 64, 64),
        "data set yolo",
    ),
    "image added": Input("an image and its label added", _add_image, "data set yolo"),
    "image removed": Input(
        "an image removed", lambda world: world.path("real/images/train/7.png").unlink(), "data set yolo"
    ),
    "label": Input(
        "a box of a label file moved",
        lambda world: world.path("real/labels/val/0.txt").write_text("0 0.5 0.5 0.25 0.25\n"),
        "data set yolo",
    ),
    "label unseen": Input(
        "a label file edited, its size and date as before",
        lambda world: world.edit("real/labels/train/0.txt", "0.375 0.375", "0.375 0.365", unseen=True),
        "data set yolo",
    ),
    "label removed": Input(
        "a label file removed", lambda world: world.path("real/labels/train/1.txt").unlink(), "data set yolo"
    ),
    "names": Input(
        "a class renamed in data.yaml", lambda world: world.edit("real/data.yaml", "square", "box"), "data set yolo"
    ),
    "splits": Input(
        "another folder for val in data.yaml",
        lambda world: world.edit("real/data.yaml", "val: images/val", "val: images/train"),
        "data set yolo",
    ),
    "folder": Input(
        "the data set's folder removed, as of a disk that is no longer mounted",
        lambda world: shutil.rmtree(world.path("real/images")),
        "data set yolo",
    ),
    "xml": Input(
        "a VOC annotation edited",
        lambda world: world.edit("voc/Annotations/p1.xml", OBJECT, "<xmin>9</xmin>"),
        "data set voc_xml",
        (*VOC, "arm=baseline"),
    ),
    "xml unseen": Input(
        "a VOC annotation edited, its size and date as before",
        lambda world: world.edit("voc/Annotations/p1.xml", OBJECT, "<xmin>12</xmin>", unseen=True),
        "data set voc_xml",
        (*VOC, "arm=baseline"),
    ),
    "list": Input(
        "a name moved between the VOC lists",
        lambda world: world.edit("voc/ImageSets/Main/train.txt", "p5\n", "p9\n"),
        "data set voc_xml",
        (*VOC, "arm=baseline"),
    ),
    "pretrained": Input(
        "the file of pretrained weights replaced, its size and date as before",
        _swap_weights,
        "model.pretrained=",
        PRETRAINED,
    ),
    "pretrained removed": Input(
        "the file of pretrained weights removed", lambda world: world.weights.unlink(), "model.pretrained=", PRETRAINED
    ),
    "block": Input(
        "the file of a user-defined block edited",
        lambda world: world.edit("my_block.py", "+ self.gate", "- self.gate", unseen=True),
        "block.target=my_block.MyBlock: ",
        OWN_BLOCK,
    ),
    "helper": Input(
        "a module edited that a user-defined block imports",
        lambda world: world.edit("my_parts.py", "1.0", "0.5", unseen=True),
        "block.target=my_block.MyBlock: what ",
        OWN_BLOCK,
    ),
}
LINK = Input("a link to the data set pointed at another folder", _retarget, "data set yolo")
