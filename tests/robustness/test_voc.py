"""Folders and lists of Pascal VOC as people have them: each is used as it is meant, or what is not is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acmix_exp.data import inspect, resolve
from tests.data.builders import VocSet
from tests.robustness import voc_sets as make
from tests.robustness.cases import Row, add
from tests.robustness.voc_cases import ALL, LISTED, SEEDED, Odd, check, config

LISTS = [
    Odd(
        "lists with names that hold spaces, brackets and numbers: `img (1)`, `img 1`",
        "each name is found",
        make.spaces_and_brackets,
        {"train": 5, "val": 2},
        f"{LISTED} (3 images in none of the lists)",
        reported="bubbliiiing/efficientnet-yolo3-keras #15",
    ),
    Odd(
        "a last column of -1, 0 or 1 in a list",
        "not a part of the name",
        make.lists("p0  1\np1 -1\np2\t0\n", "p3 1\n"),
        {"train": 3, "val": 1},
        f"{LISTED} (6 images in none of the lists)",
    ),
    Odd(
        "several number columns, or boxes behind the name",
        "not a part of the name",
        make.lists("p0 1 1 2\np1 10,5,30,20,0 0,0,8,6,1\n", "p3\n"),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
    ),
    Odd(
        "names with suffix, `p0.jpg` or `p0.xml`, in another case, or with folders",
        "found",
        make.lists("p0.jpg\nP1.XML\n./JPEGImages/p2.jpg\n", "Annotations/p3.xml\n"),
        {"train": 3, "val": 1},
        f"{LISTED} (6 images in none of the lists)",
    ),
    Odd(
        "absolute paths of another machine, of Windows too",
        "found by the last part of the path",
        make.lists("/home/me/VOC2007/JPEGImages/p0.jpg\n" + make.WINDOWS, "p5\n"),
        {"train": 3, "val": 1},
        f"{LISTED} (6 images in none of the lists)",
    ),
    Odd(
        "an image and its xml in each line (PaddleDetection)",
        "found",
        make.lists("./images/p0.jpg ./annotations/p0.xml\n", "JPEGImages/p1.jpg Annotations/p1.xml\n", folder="."),
        {"train": 1, "val": 1},
        "lists train, val (8 images in none of the lists)",
    ),
    Odd(
        "a list with byte-order mark and CRLF",
        "read",
        make.lists("p0\r\np1\r\n", "p2\r\n", "utf-8-sig"),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
    ),
    Odd(
        "a list in UTF-16, as PowerShell writes it",
        "read",
        make.lists("p0\r\np1\r\n", "p2\r\n", "utf-16"),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
    ),
    Odd("a list in GBK", "refused, the file is named", make.lists("狗", "p1", "gbk"), says=("train.txt: not UTF-8",)),
    Odd(
        "a list with names that the folder does not have",
        "left out, each named with list and line",
        make.lists("p0\nghost\np1\n", "p2\n\nlost (2)\n"),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
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
        f"{LISTED} (7 images in none of the lists)",
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
        "list train of ImageSets/Main, val: seeded split 80/20, seed 0, of train (5 images in none of the lists)",
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
KINDS = ("train", "bus")
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
        "lists train, val, test of ImageSets/Main (4 images in none of the lists)",
    ),
    Odd(
        "VOCdevkit with VOC2007 and VOC2012",
        "both are used, each with its own lists, and the data table says so",
        make.devkit("VOC2007", "VOC2012"),
        {"train": 6, "val": 2, "test": 2},
        "VOC2007: lists train, val, test of ImageSets/Main (4 images in none of the lists); "
        f"VOC2012: {LISTED} (6 images in none of the lists)",
        says=("the same image as ",),  # the images of both years are the same here
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
NAMES = [
    Odd(
        "folders `train2017` and `val2017`, `Train Set` and `Test Set`, `train` and `dev`",
        "these folders are the split",
        make.each("images/{}", "annotations/{}", ("train2017", "val-2017", "Test Set")),
        {"train": 8, "val": 1, "test": 1},
        "folders train2017, val-2017, Test Set",
    ),
    Odd(
        "`train_images` beside `train_annotations`, `images_val` beside `annotations_val`",
        "these folders are the split",
        make.each("{}_images", "{}_annotations", ("train", "dev", "test")),
        {"train": 8, "val": 1, "test": 1},
        "folders train, dev, test",
    ),
    Odd(
        "train and validation, with images in a folder for each class (NEU-DET)",
        "the outer folders are the split",
        make.each("{}/images/scratches", "{}/annotations", ("train", "validation", "test")),
        {"train": 8, "val": 1, "test": 1},
        "folders train, validation, test",
    ),
    Odd(
        "a folder train that is a class beside a folder bus, or a folder test and no other",
        "no split, and it is said",
        lambda voc: [
            make.move(voc, f"p{i}", f"{kind}/p{i}", f"{kind}/p{i}") for i in range(10) for kind in [KINDS[i % 2]]
        ],
        ALL,
        says=("folder train: not used as a split, as images are elsewhere too, such as ",),
    ),
    Odd(
        "lists `train2017.txt`, `2007_train.txt`, `train_list.txt`, `dev.txt`",
        "lists of the split",
        make.together(
            lambda voc: make.main_list(voc, "2007_train", "p0\np1\np2\n", folder=""),
            lambda voc: make.main_list(voc, "dev_list", "p3\np4\n", folder=""),
        ),
        {"train": 3, "val": 2},
        "lists train, val (5 images in none of the lists)",
    ),
    Odd(
        "a list of val only",
        "train is all other images",
        lambda voc: make.main_list(voc, "val", "p3\np4\n"),
        {"train": 8, "val": 2},
        "list val of ImageSets/Main",
    ),
    Odd(
        "names in a list in quotes",
        "found",
        make.lists('"p0"\n"p1.jpg"\n', "'p3'\n"),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
    ),
    Odd(
        "lists in ImageSets/Segmentation only, or as .csv",
        "no lists; a seeded split is made, and they are named",
        make.together(
            lambda voc: make.main_list(voc, "train", "p0\n", folder="ImageSets/Segmentation"),
            lambda voc: (voc.root / "val.csv").write_text("p1\n"),
        ),
        ALL,
        says=("Segmentation/train.txt: not used as a list", "val.csv: not used as a list"),
    ),
    Odd(
        "images in a folder of any name, `photos`",
        "used, if no folder has a usual name",
        make.each("photos", "Annotations"),
        ALL,
    ),
    Odd(
        "one folder for trainval and another for test, each a whole VOCdevkit (Kaggle)",
        "each with its lists; train is compared with val and with test",
        make.two_devkits,
        {"train": 3, "val": 1, "test": 2},
        "VOCtest/VOCdevkit/VOC2007: list test of ImageSets/Main; VOCtrainval/VOCdevkit/VOC2007: "
        "lists train, val of ImageSets/Main",
        says=("p5.jpg: image of train that is also in test, as ",),
    ),
    Odd(
        "é in the names of images, xml and lists encoded in two ways, as after a copy from a Mac",
        "found",
        make.together(
            lambda voc: make.move(voc, "p0", "JPEGImages/\u00e9", "Annotations/e\u0301"),
            make.lists("e\u0301\np1\n", "p2\n"),
        ),
        {"train": 2, "val": 1},
        f"{LISTED} (7 images in none of the lists)",
    ),
    Odd(
        "an image that is a link to nothing",
        "left out and named",
        make.broken_link,
        {"train": 7, "val": 2},
        says=("cells/JPEGImages/p0.jpg: No such file or directory, image left out",),
    ),
]
CASES = [*LISTS, *FOLDERS, *NAMES]
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


@pytest.fixture
def voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VocSet:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return VocSet(tmp_path / "cells")


@pytest.mark.parametrize("odd", CASES, ids=[odd.have for odd in CASES])
def test_odd_voc_folder(odd: Odd, voc: VocSet) -> None:
    check(odd, voc)


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


def test_a_deleted_label_file(voc: VocSet, tmp_path: Path) -> None:
    usual = inspect(resolve(config(voc.root)))
    next(tmp_path.glob("cache/acmix_exp/voc_xml/*/labels/*/p0.txt")).unlink()
    found = inspect(resolve(config(voc.root)))
    assert (found.fingerprint, found.problems) == (usual.fingerprint, {})


def test_converted_inside_of_the_folder(voc: VocSet) -> None:
    for _ in range(2):
        found = inspect(resolve(config(voc.root, root=voc.root)))
        assert (found.images, found.problems) == (ALL, {})
    assert len(list((voc.root / "voc_xml").iterdir())) == 1
