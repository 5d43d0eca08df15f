"""Builders of small data sets, which tests then change or damage."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from acmix_exp.config import DatasetConfig


def write_image(path: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


class YoloSet:
    """A data set in YOLO layout: two classes, three images to train on and two for val."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for index, stem in enumerate(("train/a", "train/b", "train/c", "val/d", "val/e")):
            write_image(root / "images" / f"{stem}.jpg", index)
            self.label(stem, "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.125 0.25\n")
        self.write_yaml("train: images/train\nval: images/val\nnames: [cat, dog]\n")

    def label(self, stem: str, text: str) -> Path:
        path = self.root / "labels" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_yaml(self, text: str) -> None:
        (self.root / "data.yaml").write_text(text)

    @property
    def config(self) -> DatasetConfig:
        return DatasetConfig(name="yolo", path=str(self.root / "data.yaml"))


def make_class_folders(root: Path) -> Path:
    """Three images of a cat and two of a dog to train on, one of each for val."""
    for number, stem in enumerate(("train/cat/a", "train/cat/b", "train/dog/a", "train/dog/sub/b", "train/cat/c")):
        write_image(root / f"{stem}.jpg", number)
    for number, name in enumerate(("cat", "dog"), 5):
        write_image(root / "val" / name / "a.png", number)
    return root


class VocSet:
    """A Pascal VOC folder: ten images of 40x30 pixels, classes cat and dog, no lists."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for index in range(10):
            write_image(root / "JPEGImages" / f"p{index}.jpg", index)
            self.annotate(f"p{index}", ("dog", 10, 5, 30, 20), ("cat", 0, 0, 8, 6))

    def annotate(self, stem: str, *objects: tuple, size: str = "40x30", extra: str = "") -> Path:
        width, height = size.split("x")
        corners = ("xmin", "ymin", "xmax", "ymax")
        bodies = (
            f"<object>\n<name>{name}</name>{extra}<bndbox>"
            + "".join(f"<{key}>{value}</{key}>" for key, value in zip(corners, box, strict=False))
            + "</bndbox></object>\n"
            for name, *box in objects
        )
        path = self.root / "Annotations" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        head = f"<annotation>\n<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        path.write_text(head + "".join(bodies) + "</annotation>\n")
        return path

    def write_list(self, name: str, stems: str) -> None:
        path = self.root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(stems.split()) + "\n")

    @property
    def config(self) -> DatasetConfig:
        return DatasetConfig(name="voc_xml", path=str(self.root))


def tree_state(folder: Path) -> dict[str, tuple[int, str]]:
    """Modification time and content of every entry of a folder: unequal after any write."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *sorted(folder.rglob("*"))]
    }
