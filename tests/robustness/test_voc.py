"""Pascal VOC folders as people have them: each is used as it is meant, or what is not is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import Dataset, inspect, read_split, resolve
from acmix_exp.errors import ConfigError
from tests.data.builders import VocSet
from tests.robustness import voc_sets as make
from tests.robustness.cases import Row, add

BOXES = {"cat": [0.1, 0.1, 0.2, 0.2], "dog": [0.5, 12.5 / 30, 0.5, 0.5]}  # of every image of a VocSet
ALL = {"train": 8, "val": 2}
SEEDED = "seeded split 80/20, seed 0"
LISTED = "lists train, val of ImageSets/Main"


@dataclass(frozen=True)
class Odd:
    """A change of a VocSet, and what is expected of the result."""

    have: str
    here: str
    change: Callable[[VocSet], object]  # may return the folder that is given as dataset.path
    images: dict[str, int] | None = None  # by split; None: refused
    made: str = SEEDED
    says: tuple[str, ...] = ()  # parts of the warnings, one each, or of the message if it is refused
    only: dict[str, dict[str, list[float] | None]] | None = None  # other boxes of images, by name; None: no such box
    reported: str = ""


LISTS = [
    Odd(
        "lists with names that hold spaces, brackets and numbers: `img (1)`, `img 1`",
        "each name is found",
        make.spaces_and_brackets,
        {"train": 5, "val": 2},
        f"{LISTED}, 3 images in none of the lists",
        reported="bubbliiiing/efficientnet-yolo3-keras #15",
    ),
    Odd(
        "a last column of -1, 0 or 1 in a list",
        "not a part of the name",
        make.lists("p0  1\np1 -1\np2\t0\n", "p3 1\n"),
        {"train": 3, "val": 1},
        f"{LISTED}, 6 images in none of the lists",
    ),
    Odd(
        "several number columns, or boxes behind the name",
        "not a part of the name",
        make.lists("p0 1 1 2\np1 10,5,30,20,0 0,0,8,6,1\n", "p3\n"),
        {"train": 2, "val": 1},
        f"{LISTED}, 7 images in none of the lists",
    ),
    Odd(
        "names with suffix, `p0.jpg` or `p0.xml`, in another case, or with folders",
        "found",
        make.lists("p0.jpg\nP1.XML\n./JPEGImages/p2.jpg\n", "Annotations/p3.xml\n"),
        {"train": 3, "val": 1},
        f"{LISTED}, 6 images in none of the lists",
    ),
    Odd(
        "absolute paths of another machine, of Windows too",
        "found by the last part of the path",
        make.lists("/home/me/VOC2007/JPEGImages/p0.jpg\n" + make.WINDOWS, "p5\n"),
        {"train": 3, "val": 1},
        f"{LISTED}, 6 images in none of the lists",
    ),
    Odd(
        "an image and its xml in each line (PaddleDetection)",
        "found",
        make.lists("./images/p0.jpg ./annotations/p0.xml\n", "JPEGImages/p1.jpg Annotations/p1.xml\n", folder="."),
        {"train": 1, "val": 1},
        "lists train, val, 8 images in none of the lists",
    ),
    Odd(
        "a list with byte-order mark and CRLF",
        "read",
        make.lists("p0\r\np1\r\n", "p2\r\n", "utf-8-sig"),
        {"train": 2, "val": 1},
        f"{LISTED}, 7 images in none of the lists",
    ),
    Odd(
        "a list in UTF-16, as PowerShell writes it",
        "read",
        make.lists("p0\r\np1\r\n", "p2\r\n", "utf-16"),
        {"train": 2, "val": 1},
        f"{LISTED}, 7 images in none of the lists",
    ),
    Odd("a list in GBK", "refused, the file is named", make.lists("狗", "p1", "gbk"), says=("train.txt: not UTF-8",)),
    Odd(
        "a list with names that the folder does not have",
        "left out, each named with list and line",
        make.lists("p0\nghost\np1\n", "p2\n\nlost (2)\n"),
        {"train": 2, "val": 1},
        f"{LISTED}, 7 images in none of the lists",
        ("train.txt:2: 'ghost' is neither an image nor", "val.txt:3: 'lost (2)' is neither an image nor"),
    ),
    Odd(
        "a list with names of another data set only",
        "refused, the first one is named with list and line",
        make.lists("p0", "q1\nq2"),
        says=("val.txt:1: 'q1' and all other names have no image with annotation",),
    ),
    Odd(
        "an image twice in a list, and in two lists",
        "used once in each; named with list and line",
        make.lists("p0\np1\np0\n", "p2\np1\n"),
        {"train": 2, "val": 2},
        f"{LISTED}, 7 images in none of the lists",
        (
            "train.txt:3: 'p0' is in this list already",
            "val.txt:2: 'p1' is in ",
            "p1.jpg: image of train that is also in val",
        ),
    ),
    Odd(
        "an empty list val.txt",
        "val is a seeded split of train, and the empty list is named",
        make.lists("p0\np1\np2\np3\np4\n", "\n"),
        {"train": 4, "val": 1},
        "list train of ImageSets/Main, val: seeded split 80/20, seed 0, of train, 5 images in none of the lists",
        ("val.txt: an empty list",),
    ),
    Odd(
        "lists of a class only, `dog_train.txt`",
        "no split; a seeded one is made, and the lists are named",
        lambda voc: make.main_list(voc, "dog_train", "p0 1\np1 -1\n"),
        ALL,
        says=("dog_train.txt: not used as a list",),
    ),
]
FOLDERS = [
    Odd("images and xml in one folder", "used", make.each("data", "data"), ALL),
    Odd(
        "xml in a folder of any name, `my boxes`",
        "found by the names of the files",
        make.each("JPEGImages", "my boxes"),
        ALL,
    ),
    Odd(
        "`images/train`, `images/val`, `images/test` and the same below `annotations`",
        "these folders are the split",
        make.each("images/{}", "annotations/{}", ("train", "val", "test")),
        {"train": 8, "val": 1, "test": 1},
        "folders train, val, test",
    ),
    Odd(
        "`train`, `valid` and `test` with images and xml in each (Pascal VOC export of Roboflow)",
        "these folders are the split",
        make.each("{}", "{}", ("train", "valid", "test")),
        {"train": 8, "val": 1, "test": 1},
        "folders train, valid, test",
    ),
    Odd(
        "`train/images`, `train/xmls` and so on",
        "these folders are the split",
        make.each("{}/images", "{}/xmls", ("Train", "Validation", "Test")),
        {"train": 8, "val": 1, "test": 1},
        "folders Train, Validation, Test",
    ),
    Odd(
        "images in folders of the split, all xml in one folder",
        "these folders are the split",
        make.each("images/{}", "Annotations", ("train", "val", "test")),
        {"train": 8, "val": 1, "test": 1},
        "folders train, val, test",
    ),
    Odd(
        "a folder for each class, with equal file names",
        "all are used, matched within their folders",
        make.classes_as_folders,
        ALL,
        f"cats, dogs together: {SEEDED}",
    ),
    Odd(
        "VOCdevkit with one year",
        "that year is used",
        make.devkit("VOC2012"),
        {"train": 3, "val": 1, "test": 2},
        "lists train, val, test of ImageSets/Main, 4 images in none of the lists",
    ),
    Odd(
        "VOCdevkit with VOC2007 and VOC2012",
        "both are used, each with its own lists, and the data table says so",
        make.devkit("VOC2007", "VOC2012"),
        {"train": 6, "val": 2, "test": 2},
        "VOC2007: lists train, val, test of ImageSets/Main, 4 images in none of the lists; "
        f"VOC2012: {LISTED}, 6 images in none of the lists",
    ),
    Odd("`._` files, `__MACOSX`, `.DS_Store`, `Thumbs.db`, `.ipynb_checkpoints`", "passed over", make.clutter, ALL),
    Odd("masks in SegmentationClass, of the names of images", "no images to train on", make.masks, ALL),
    Odd(
        "a folder of copies with boxes drawn into them",
        "not used, named; an image without annotation is not replaced by its copy",
        make.drawn_copies,
        {"train": 7, "val": 2},
        says=("drawn: 1 images in this folder not used", "p0.jpg: image without annotation"),
    ),
    Odd(
        "files `.XML`, `p1.jpg.xml`, `P2.xml` and annotations without suffix",
        "used",
        lambda voc: [
            (voc.root / "Annotations" / f"{old}.xml").rename(voc.root / "Annotations" / new)
            for old, new in (("p0", "p0.XML"), ("p1", "p1.jpg.xml"), ("p2", "P2.xml"), ("p3", "p3"))
        ],
        ALL,
    ),
    Odd(
        "two images of one name, `p0.jpg` and `p0.png`",
        "one is used, the other named",
        lambda voc: make.write_image(voc.root / "JPEGImages" / "p0.png"),
        ALL,
        says=("p0.jpg: not used, ",),
    ),
    Odd(
        "a link in the folder that leads back to it",
        "its files are read once",
        lambda voc: (voc.root / "JPEGImages" / "loop").symlink_to(voc.root / "JPEGImages"),
        ALL,
    ),
    Odd("file names that are not UTF-8, of a Windows archive", "used", make.not_utf8, ALL),
    Odd(
        "xml without image, image without xml",
        "left out, each named",
        lambda voc: [(voc.root / name).unlink() for name in ("JPEGImages/p0.jpg", "Annotations/p2.xml")],
        {"train": 6, "val": 2},
        says=("p0.xml: annotation without image", "p2.jpg: image without annotation"),
    ),
    Odd(
        "an image that is a web page",
        "left out; the image of the user's folder is named",
        make.unreadable,
        {"train": 7, "val": 2},
        says=("cells/JPEGImages/p0.jpg: not an image, image left out",),
    ),
]
PHOTOS = [
    Odd(
        "a phone photo (EXIF 6), boxes drawn on the photo as it is stored",
        "boxes are turned with the photo",
        make.photo("p0", 6, stored=True),
        ALL,
        reported="labelImg #198, #376",
    ),
    Odd("a phone photo (EXIF 6), boxes drawn on the upright photo", "used", make.photo("p0", 6, stored=False), ALL),
    Odd(
        "the same without size, and with a size that was scaled down",
        "the boxes or the shape show how it was drawn",
        make.together(
            make.photo("p0", 6, stored=True, stated="15x20"),
            make.annotate("p0", ("dog", 10, 20, 40, 60), ("cat", 0, 64, 12, 80), size="60x80"),
            make.photo("p1", 6, stored=True, stated="0x0"),
        ),
        ALL,
        says=("p0.xml: size is 60x80, but the image has 30x40 pixels; of the same shape",),
    ),
    Odd(
        "a photo upside down (EXIF 3)",
        "nothing shows how it was drawn: as the other turned photos, and named",
        make.together(make.photo("p1", 6, stored=True), make.photo("p0", 3, stored=True)),
        ALL,
        says=("p0.xml: p0.jpg has EXIF orientation 3 and nothing shows",),
    ),
    Odd(
        "a photo upside down (EXIF 3), the only turned one",
        "taken as drawn on the upright photo, and named",
        make.photo("p0", 3, stored=False),
        ALL,
        says=("p0.xml: p0.jpg has EXIF orientation 3 and nothing shows",),
    ),
    Odd(
        "an image that was scaled after it was annotated",
        "boxes are scaled by the size of the xml, and it is named",
        make.resized("p0", 80, 60),
        ALL,
        says=("p0.xml: size is 40x30, but the image has 80x60 pixels; of the same shape, boxes scaled",),
    ),
    Odd(
        "an xml size of another shape than the image",
        "boxes are scaled by width and height of that size, and it is named",
        make.resized("p0", 64, 64),
        ALL,
        says=("p0.xml: size is 40x30, but the image has 64x64 pixels, of another shape",),
    ),
    Odd(
        "an xml size that the boxes reach beyond, while all are inside the image",
        "boxes are pixels of the image, and it is named",
        make.annotate("p0", make.DOG, make.CAT, size="25x25"),
        ALL,
        says=("p0.xml: size is 25x25, but the image has 40x30 pixels; boxes are inside the image and not",),
    ),
    Odd(
        "width and height swapped in the xml",
        "boxes are pixels of the image, and it is named",
        make.annotate("p0", ("dog", 10, 5, 30, 20), ("cat", 0, 0, 8, 6), size="30x40"),
        ALL,
        says=("p0.xml: size is 30x40, but the image has 40x30 pixels: width and height are swapped",),
    ),
    Odd(
        "size missing or 0, and a box that reaches out of the image",
        "the size is that of the image, the box is clipped and named, with size and without",
        make.together(
            make.annotate("p0", ("dog", 20, 15, 90, 90), make.CAT),
            make.annotate("p1", ("dog", 20, 15, 90, 90), make.CAT, size="0x0"),
        ),
        ALL,
        says=("p0.xml: object 1: 20 15 90 90 reaches beyond 40x30", "p1.xml: object 1: 20 15 90 90 reaches beyond"),
        only={"p0": {"dog": [0.75, 0.75, 0.5, 0.5]}, "p1": {"dog": [0.75, 0.75, 0.5, 0.5]}},
        reported="YOLOX #140",
    ),
]
OBJECTS = [
    Odd(
        "xmin larger than xmax",
        "the box is dropped and named",
        make.annotate("p0", ("dog", 30, 5, 10, 20), make.CAT),
        ALL,
        says=("p0.xml: object 1: zero or negative area, 30 5 10 20",),
        only={"p0": {"dog": None}},
    ),
    Odd(
        "`difficult` as `True`, ` 1 ` or `1.0`",
        "the box is dropped as VOC does, and named; what is neither 0 nor 1 is named and kept",
        make.together(
            *(
                make.annotate(f"p{number}", make.DOG, make.CAT, extra=f"<difficult>{text}</difficult>")
                for number, text in enumerate(("True", " 1 ", "1.0", "0", "maybe"))
            )
        ),
        ALL,
        says=(
            *(
                f"p{number}.xml: object {place}: {name} is marked difficult"
                for number in range(3)
                for place, name in ((1, "dog"), (2, "cat"))
            ),
            *(f"p4.xml: object {place}: difficult is 'maybe'" for place in (1, 2)),
        ),
        only={f"p{number}": {"dog": None, "cat": None} for number in range(3)},
    ),
    Odd("polygons without bndbox", "the box around the points", make.xml("p0", make.POLYGON), ALL),
    Odd(
        "an object without bndbox and polygon, or with a rotated box",
        "refused, the object is named",
        make.xml("p0", "<annotation><object><name>dog</name><robndbox/></object></annotation>"),
        says=("p0.xml: object 1: a rotated box",),
    ),
    Odd(
        "corners as fractions of the image",
        "refused, the object is named",
        make.annotate("p0", ("dog", 0.25, 0.5, 0.75, 0.9)),
        says=("p0.xml: object 1: 0.25 0.5 0.75 0.9 are fractions",),
    ),
    Odd(
        "boxes in floats, from 1 or from 0",
        "used as they are",
        make.annotate("p0", ("dog", "10.0", " 5", "3e1", "20.00"), make.CAT),
        ALL,
    ),
    Odd(
        "names with blanks at the ends, or with a line break",
        "the name without them",
        make.together(make.edited("p0", ">dog<", ">dog <"), make.edited("p0", ">cat<", ">\n  cat\n<")),
        ALL,
    ),
    Odd(
        "class names that differ in case, blanks, `_` or `-` only: `Dog` and `dog`",
        "different classes, named with a file of each",
        make.edited("p0", ">dog<", ">Dog<"),
        ALL,
        says=("class 'dog' is not class 'Dog' of ",),
        only={"p0": {"dog": None, "Dog": BOXES["dog"]}},
    ),
    Odd(
        "an object twice",
        "used once, named with the xml and both objects",
        make.annotate("p0", make.DOG, make.CAT, make.DOG),
        ALL,
        says=("p0.xml: object 3: the same name and box as object 1",),
    ),
    Odd(
        "objects inside of another element, in a namespace, or in capitals",
        "found",
        make.xml(
            "p0", f'<annotation xmlns="urn:a"><Objects>{make.OBJECTS}</Objects></annotation>'.replace("name", "NAME")
        ),
        ALL,
    ),
    Odd(
        "an xml of another tool, without any `<object>`",
        "refused, never an image without objects",
        make.xml("p0", make.OBJECTS.replace("object", "item").join(("<doc>", "</doc>"))),
        says=("p0.xml: <doc> without <object>",),
    ),
    Odd(
        "an xml whose filename is another image",
        "its own name counts, and it is named; other renamed files are named in one line",
        make.together(
            make.edited("p0", "<size>", "<filename>p1.jpg</filename><size>"),
            make.edited("p2", "<size>", "<filename>C:\\a\\IMG_1.jpg</filename><size>"),
            make.edited("p3", "<size>", "<filename>IMG_2.jpg</filename><size>"),
            make.edited("p4", "<size>", "<filename>p4.png</filename><size>"),
        ),
        ALL,
        says=(
            "p0.xml: filename is 'p1.jpg', used with p0.jpg, though",
            "p2.xml: filename is 'IMG_1.jpg', used with p2.jpg (and 1 more",
        ),
    ),
]
XML = [
    Odd(
        "xml that is cut short",
        "refused, with file and line",
        make.xml("p0", "<annotation>\n<obj"),
        says=("p0.xml: not XML",),
    ),
    Odd(
        "an empty xml file",
        "refused, the file is named",
        make.xml("p0", ""),
        says=("p0.xml: not XML: no element found",),
    ),
    Odd(
        "xml in UTF-16",
        "used",
        make.xml(
            "p0", f'<?xml version="1.0" encoding="utf-16"?><annotation>{make.OBJECTS}</annotation>'.encode("utf-16")
        ),
        ALL,
    ),
    Odd(
        "xml in GBK",
        "refused, the file is named",
        make.xml("p0", "<annotation><object><name>狗</name></object></annotation>".encode("gbk")),
        says=("p0.xml: not XML",),
    ),
    Odd(
        "entities that expand to gigabytes (billion laughs)",
        "refused before anything is expanded",
        make.xml("p0", make.entities('<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">')),
        says=("p0.xml: it defines XML entities",),
    ),
    Odd(
        "entities that read a file",
        "refused",
        make.xml("p0", make.entities('<!ENTITY b SYSTEM "file:///etc/hostname">').encode("utf-16")),
        says=("p0.xml: it defines XML entities",),
    ),
]
CASES = [*LISTS, *FOLDERS, *PHOTOS, *OBJECTS, *XML]
for odd in CASES:
    add(Row("Pascal VOC", odd.have, odd.here, odd.reported))
add(
    Row(
        "Pascal VOC",
        "folders called `annotations`, `annots`, `Annotation`, `xml`, `labels`, `imgs`, `JPEGImages`, in any case",
        "used",
    )
)
add(Row("Pascal VOC", "an annotation edited without a change of its size and date", "the folder is converted anew"))
add(Row("Pascal VOC", "a converted label file that was deleted", "the folder is converted anew"))
add(Row("Pascal VOC", "`dataset.root` inside of the folder", "what is converted there is not read again"))


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def voc(tmp_path: Path) -> VocSet:
    return VocSet(tmp_path / "cells")


def config(path: Path, root: Path | None = None) -> DatasetConfig:
    return DatasetConfig(name="voc_xml", path=str(path), root=str(root) if root else None)


def boxes(dataset: Dataset) -> dict[str, dict[str, list[float]]]:
    """Boxes by stem of the image and class name."""
    return {
        sample.image.stem: {dataset.names[int(row[0])]: row[1:].tolist() for row in sample.boxes}
        for split in dataset.splits
        for sample in read_split(dataset, split)
    }


@pytest.mark.parametrize("odd", CASES, ids=[odd.have for odd in CASES])
def test_odd_voc_folder(odd: Odd, voc: VocSet) -> None:
    path = odd.change(voc)
    settings = config(path if isinstance(path, Path) and path.is_dir() else voc.root)
    if odd.images is None:
        with pytest.raises(ConfigError) as caught:
            resolve(settings)
        message = str(caught.value)
        assert message.startswith(f"dataset.path={settings.path}: ")
        assert "; must be " in message
        assert "\n" not in message
        assert all(part in message for part in odd.says)
        return
    dataset = resolve(settings)
    found = inspect(dataset)
    lines = [*found.warnings, *(f"{count} {problem}" for problem, count in found.problems.items())]
    assert found.images == odd.images
    assert dataset.split_made == odd.made
    assert [part for part in odd.says if not any(part in line for line in lines)] == []
    unexpected = [line for line in found.warnings if not any(part in line for part in odd.says)]
    assert unexpected == []
    assert not any("voc_xml" in line for line in found.warnings)
    for stem, rows in boxes(dataset).items():
        expected = {**BOXES, **(odd.only or {}).get(stem, {})}
        expected = {name: box for name, box in expected.items() if box is not None}
        assert rows.keys() == expected.keys(), stem
        for name, box in expected.items():
            np.testing.assert_allclose(rows[name], box, rtol=0, atol=1e-6, err_msg=f"{stem} {name}")


@pytest.mark.parametrize("images", ["JPEGImages", "images", "Image", "imgs", "IMG"])
@pytest.mark.parametrize(
    "annotations", ["Annotations", "annotations", "annots", "Annotation", "xml", "XMLs", "labels", "annotations/xmls"]
)
def test_names_of_folders(images: str, annotations: str, voc: VocSet) -> None:
    usual = inspect(resolve(config(voc.root)))
    for index in range(10):
        make.move(voc, f"p{index}", f"{images}/p{index}", f"{annotations}/p{index}")
    found = inspect(resolve(config(voc.root)))
    assert found.fingerprint == usual.fingerprint
    assert found.problems == {}


def test_an_edit_that_keeps_size_and_time(voc: VocSet) -> None:
    usual = inspect(resolve(config(voc.root)))
    path = voc.root / "Annotations" / "p0.xml"
    times = path.stat()
    path.write_text(path.read_text().replace("<xmin>10<", "<xmin>11<"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert inspect(resolve(config(voc.root))).fingerprint != usual.fingerprint


def test_a_deleted_label_file(voc: VocSet, cache_home: Path) -> None:
    usual = inspect(resolve(config(voc.root)))
    next(cache_home.glob("acmix_exp/voc_xml/*/labels/*/p0.txt")).unlink()
    found = inspect(resolve(config(voc.root)))
    assert (found.fingerprint, found.problems) == (usual.fingerprint, {})


def test_converted_inside_of_the_folder(voc: VocSet) -> None:
    for _ in range(2):
        found = inspect(resolve(config(voc.root, root=voc.root)))
        assert (found.images, found.problems) == (ALL, {})
    assert len(list((voc.root / "voc_xml").iterdir())) == 1
