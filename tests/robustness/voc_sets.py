"""Makers of odd Pascal VOC folders: each changes a VocSet, and may return another folder for dataset.path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.data.builders import VocSet, write_image

DOG, CAT = ("dog", 10, 5, 30, 20), ("cat", 0, 0, 8, 6)  # the boxes of every image of a VocSet


def main_list(voc: VocSet, name: str, text: str, encoding: str = "utf-8", folder: str = "ImageSets/Main") -> None:
    path = voc.root / folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def lists(train: str, val: str, encoding: str = "utf-8", folder: str = "ImageSets/Main") -> Callable[[VocSet], None]:
    def make(voc: VocSet) -> None:
        main_list(voc, "train", train, encoding, folder)
        main_list(voc, "val", val, encoding, folder)

    return make


def together(*makes: Callable[[VocSet], object]) -> Callable[[VocSet], object]:
    return lambda voc: [make(voc) for make in makes][-1]


def rename(voc: VocSet, old: str, new: str) -> None:
    """An image and its annotation, both by name without suffix."""
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        target = voc.root / folder / f"{new}.{suffix}"
        target.parent.mkdir(exist_ok=True)
        (voc.root / folder / f"{old}.{suffix}").rename(target)


def spaces_and_brackets(voc: VocSet) -> None:
    for old, new in (("p0", "a"), ("p1", "a (1)"), ("p2", "a (2)"), ("p3", "b"), ("p4", "b (1)"), ("p5", "a 1")):
        rename(voc, old, new)
    lists("a\na (1)\na (2)\nb\na 1\n", "b (1)\np6\n")(voc)


def move(voc: VocSet, stem: str, images: str, annotations: str) -> None:
    for old, new in ((f"JPEGImages/{stem}.jpg", f"{images}.jpg"), (f"Annotations/{stem}.xml", f"{annotations}.xml")):
        (voc.root / new).parent.mkdir(parents=True, exist_ok=True)
        (voc.root / old).rename(voc.root / new)


def each(images: str, annotations: str, splits: tuple[str, ...] = ()) -> Callable[[VocSet], None]:
    """Move every file; ``{}`` is replaced by the split, p8 being val and p9 test."""

    def make(voc: VocSet) -> None:
        names = [splits[0]] * 8 + list(splits[1:]) if splits else [""] * 10
        for index, split in enumerate(names):
            move(voc, f"p{index}", f"{images.format(split)}/p{index}", f"{annotations.format(split)}/p{index}")

    return make


def classes_as_folders(voc: VocSet) -> None:
    for index in range(10):
        kind = ("cats", "dogs")[index % 2]
        move(voc, f"p{index}", f"{kind}/{index // 2}", f"{kind}/{index // 2}")


def devkit(*years: str) -> Callable[[VocSet], Path]:
    def make(voc: VocSet) -> Path:
        for number, year in enumerate(years):
            inner = VocSet(voc.root.parent / "VOCdevkit" / year)
            inner.write_list("train", "p0 p1 p2")
            inner.write_list("val", "p3")
            if number == 0:
                inner.write_list("test", "p4 p5")
        return voc.root.parent / "VOCdevkit"

    return make


def two_devkits(voc: VocSet) -> Path:
    """As Kaggle has VOC2007; p5 of train is p5 of test."""
    for part, names in (("VOCtrainval", ("p0", "p1", "p2", "p5")), ("VOCtest", ("p4", "p5"))):
        inner = VocSet(voc.root.parent / "kaggle" / part / "VOCdevkit" / "VOC2007")
        for index in {*range(10)} - {int(name[1:]) for name in names}:
            for file in (f"JPEGImages/p{index}.jpg", f"Annotations/p{index}.xml"):
                (inner.root / file).unlink()
        if part == "VOCtest":
            inner.write_list("test", "p4 p5")
        else:
            inner.write_list("train", "p0 p1 p5")
            inner.write_list("val", "p2")
    return voc.root.parent / "kaggle"


def broken_link(voc: VocSet) -> None:
    image = voc.root / "JPEGImages" / "p0.jpg"
    image.unlink()
    image.symlink_to("nowhere.jpg")


def clutter(voc: VocSet) -> None:
    for name in ("JPEGImages/._p0.jpg", "Annotations/._p0.xml", "Annotations/.DS_Store", "JPEGImages/Thumbs.db"):
        (voc.root / name).write_bytes(b"\0\5\x16\7")
    for folder in ("Annotations", "JPEGImages"):
        (voc.root / folder / ".ipynb_checkpoints").mkdir()
    (voc.root / "Annotations" / ".ipynb_checkpoints" / "p0-checkpoint.xml").write_text("<")
    (voc.root / "__MACOSX" / "Annotations").mkdir(parents=True)
    (voc.root / "__MACOSX" / "Annotations" / "p0.xml").write_text("<")


def masks(voc: VocSet) -> None:
    write_image(voc.root / "SegmentationClass" / "p0.png")


def drawn_copies(voc: VocSet) -> None:
    write_image(voc.root / "drawn" / "p0.jpg")
    (voc.root / "Annotations" / "p0.xml").unlink()


def xml(stem: str, text: str | bytes) -> Callable[[VocSet], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda voc: (voc.root / "Annotations" / f"{stem}.xml").write_bytes(data)


def edited(stem: str, old: str, new: str) -> Callable[[VocSet], object]:
    def make(voc: VocSet) -> None:
        path = voc.root / "Annotations" / f"{stem}.xml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return make


def photo(stem: str, orientation: int, stored: bool, stated: str | None = None) -> Callable[[VocSet], None]:
    """A photo whose upright pixels have the usual boxes, drawn on the stored or on the upright pixels."""

    def make(voc: VocSet) -> None:
        exif = Image.Exif()
        exif[274] = orientation
        size = {6: (30, 40), 3: (40, 30)}[orientation]
        Image.new("RGB", size, (40 * int(stem[1:]), 0, 0)).save(voc.root / "JPEGImages" / f"{stem}.jpg", exif=exif)
        turn = {6: lambda x, y, r, b: (y, 40 - r, b, 40 - x), 3: lambda x, y, r, b: (40 - r, 30 - b, 40 - x, 30 - y)}
        boxes = [(name, *(turn[orientation](*box) if stored else box)) for name, *box in (DOG, CAT)]
        width, height = size if stored else (40, 30)
        voc.annotate(stem, *boxes, size=stated or f"{width}x{height}")

    return make


def resized(stem: str, width: int, height: int) -> Callable[[VocSet], object]:
    return lambda voc: write_image(voc.root / "JPEGImages" / f"{stem}.jpg", 5, width, height)


def annotate(stem: str, *objects: tuple, **options: str) -> Callable[[VocSet], object]:
    return lambda voc: voc.annotate(stem, *objects, **options)


def entities(text: str) -> str:
    return f"<!DOCTYPE annotation [{text}]><annotation><object><name>&b;</name></object></annotation>"


def not_utf8(voc: VocSet) -> None:
    for folder, suffix in (("JPEGImages", b".jpg"), ("Annotations", b".xml")):
        path = os.fsencode(voc.root / folder)
        os.rename(path + b"/p0" + suffix, path + b"/" + "图".encode("gbk") + suffix)


def unreadable(voc: VocSet) -> None:
    (voc.root / "JPEGImages" / "p0.jpg").write_bytes(b"<html>not found</html>")


POLYGON = (
    "<annotation><object><name>dog</name><polygon><x1>10</x1><y1>5</y1><x2>30</x2><y2>5</y2><x3>30</x3>"
    "<y3>20</y3></polygon></object><object><name>cat</name><polygon><pt><x>0</x><y>0</y></pt><pt><x>8</x>"
    "<y>6</y></pt></polygon></object></annotation>"
)
OBJECTS = "".join(
    f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{r}</xmax><ymax>{b}</ymax></bndbox></object>"
    for name, x, y, r, b in (DOG, CAT)
)
WINDOWS = "\n".join(rf"C:\data\VOC2007\JPEGImages\p{index}.jpg" for index in (3, 4))
LISTED = "lists train, val of ImageSets/Main"
