"""Boxes of turned and resized photos: they lie where the reader of training puts the pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acmix_exp.data.images import decode
from acmix_exp.data.voc_annotation import Annotation, VocObject
from acmix_exp.data.voc_boxes import drawn_on, place, read_photo

BOX = (10.0, 4.0, 50.0, 24.0)  # of the white part of a photo, in pixels as it is stored
SIZES = {"landscape": (72, 96), "square": (96, 96)}  # height, width


def write_photo(path: Path, orientation: int, size: tuple[int, int]) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    left, top, right, bottom = map(int, BOX)
    pixels[top:bottom, left:right] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def white_part(path: Path) -> list[float]:
    """Centre x, centre y, width and height of the white part as training reads the file, as fractions."""
    pixels = decode(path.read_bytes(), path.suffix)
    assert pixels is not None
    rows, columns = np.nonzero(pixels[..., 0] > 128)
    height, width = pixels.shape[:2]
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height]


def annotation(size: tuple[int, int] | None, *boxes: tuple[float, float, float, float]) -> Annotation:
    return Annotation(Path("a.xml"), size, "", [VocObject(number, "dog", box) for number, box in enumerate(boxes, 1)])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", SIZES)
def test_boxes_are_turned_as_the_reader_turns_the_photo(
    shape: str, orientation: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    write_photo(path, orientation, SIZES[shape])
    photo = read_photo(path)
    assert photo is not None
    rows, notes = place(annotation(SIZES[shape], BOX), photo, "stored")
    assert notes == []
    found = [float(value) for value in rows[0][1].split()]
    np.testing.assert_allclose(found, white_part(path), rtol=0, atol=0.011)  # a pixel: codecs blur edges


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_shows_what_the_boxes_were_drawn_on(orientation: int, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", orientation, (72, 96))
    photo = read_photo(tmp_path / "a.jpg")
    assert photo is not None
    assert (photo.stored, photo.upright) == ((72, 96), (96, 72))
    assert drawn_on(annotation((72, 96), BOX), photo) == "stored"
    assert drawn_on(annotation((96, 72), BOX), photo) == "upright"
    assert drawn_on(annotation((36, 48), BOX), photo) == "stored"  # scaled down
    assert drawn_on(annotation(None, (60, 10, 90, 40)), photo) == "stored"  # reaches beyond the upright photo
    assert drawn_on(annotation(None, (10, 60, 40, 90)), photo) == "upright"
    assert drawn_on(annotation(None, BOX), photo) == ""
    assert drawn_on(annotation((50, 50), BOX), photo) == ""


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_mirrored_photo_shows_nothing(orientation: int, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", orientation, (72, 96))
    photo = read_photo(tmp_path / "a.jpg")
    assert photo is not None
    assert drawn_on(annotation((72, 96), BOX), photo) == ""


@pytest.mark.parametrize(
    ("stated", "box", "expected", "note"),
    [
        ((72, 96), (0, 0, 48, 36), [0.25, 0.25, 0.5, 0.5], None),
        ((71, 97), (0, 0, 48.5, 35.5), [0.25, 0.25, 0.5, 0.5], None),
        ((144, 192), (0, 0, 96, 72), [0.25, 0.25, 0.5, 0.5], "of the same shape"),
        ((72, 192), (0, 0, 96, 36), [0.25, 0.25, 0.5, 0.5], "of another shape"),
        ((36, 48), (0, 0, 96, 36), [0.5, 0.25, 1, 0.5], "not inside this size"),
        ((96, 72), (0, 0, 48, 36), [0.25, 0.25, 0.5, 0.5], "are swapped"),
        (None, (0, 0, 48, 36), [0.25, 0.25, 0.5, 0.5], None),
    ],
)
def test_a_size_that_is_not_that_of_the_image(
    stated: tuple[int, int] | None, box: tuple, expected: list[float], note: str | None, tmp_path: Path
) -> None:
    write_photo(tmp_path / "a.jpg", 1, (72, 96))
    rows, notes = place(annotation(stated, box), read_photo(tmp_path / "a.jpg"), "upright")
    np.testing.assert_allclose([float(value) for value in rows[0][1].split()], expected, rtol=0, atol=1e-6)
    assert len(notes) == bool(note)
    assert all(line.startswith("a.xml: size is ") and (note or "") in line for line in notes)
