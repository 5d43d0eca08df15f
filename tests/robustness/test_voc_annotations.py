"""Annotations of Pascal VOC folders as people have them: photos, sizes, objects and XML."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.builders import VocSet
from tests.robustness import voc_sets as make
from tests.robustness.voc_cases import ALL, BOXES, Odd, check

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
        "an image none of whose boxes can be used: corners swapped, or all outside of the image",
        "the image is left out, never background, and named",
        make.together(make.annotate("p0", ("dog", 30, 5, 10, 20)), make.annotate("p1", ("dog", 100, 5, 130, 20))),
        {"train": 7, "val": 1},
        says=(
            "p0.xml: object 1: zero or negative area, 30 5 10 20",
            "p0.xml: none of its boxes can be used, p0.jpg left out",
            "p1.xml: object 1: out of range, 100 5 130 20 is outside",
            "p1.xml: none of its boxes can be used, p1.jpg left out",
        ),
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
    Odd(
        "an object that is marked deleted (LabelMe)",
        "the box is dropped and named",
        make.annotate("p0", make.DOG, extra="<deleted>1</deleted>"),
        ALL,
        says=("p0.xml: object 1: dog is marked deleted",),
        only={"p0": {"dog": None, "cat": None}},
    ),
    Odd(
        "an object with two names",
        "refused, the object is named",
        make.annotate("p0", make.DOG, extra="<name>cat</name>"),
        says=("p0.xml: object 1: 2 <name>",),
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
        "class names that differ in case, blanks, `_` or `-`, width or invisible characters only: `Dog` and `dog`",
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
CHINESE = f"<annotation>{make.OBJECTS}</annotation>".replace("dog", "狗")
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
        "xml in GBK that does not say so",
        "refused, the file is named",
        make.xml("p0", "<annotation><object><name>狗</name></object></annotation>".encode("gbk")),
        says=("p0.xml: not XML",),
    ),
    Odd(
        "xml that says GBK, or another Asian encoding, or UTF-16 though it is UTF-8 (.NET)",
        "used",
        make.together(
            make.xml("p0", f'<?xml version="1.0" encoding="GBK"?>{CHINESE}'.encode("gbk")),
            make.xml("p1", f'<?xml version="1.0" encoding="shift_jis"?><annotation>{make.OBJECTS}</annotation>'),
            make.xml("p2", f'<?xml version="1.0" encoding="utf-16"?><annotation>{make.OBJECTS}</annotation>'),
        ),
        ALL,
        only={"p0": {"dog": None, "狗": BOXES["dog"]}},
    ),
    Odd(
        "several images in one xml",
        "refused, the file is named",
        make.xml("p0", f"<annotations>{2 * f'<annotation>{make.OBJECTS}</annotation>'}</annotations>"),
        says=("p0.xml: 2 <annotation>",),
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
CASES = [*PHOTOS, *OBJECTS, *XML]


@pytest.fixture
def voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VocSet:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return VocSet(tmp_path / "cells")


@pytest.mark.parametrize("odd", CASES, ids=[odd.have for odd in CASES])
def test_odd_annotation(odd: Odd, voc: VocSet) -> None:
    check(odd, voc)
