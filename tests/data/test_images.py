"""Image sizes as training sees them, and images that it cannot read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from acmix_exp.data.images import ImageError, image_size, stock_fault


def encoded(kind: str = "JPEG", size: tuple[int, int] = (40, 30), orientation: int = 1) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_height_and_width(kind: str) -> None:
    assert image_size(encoded(kind)) == (30, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_is_that_of_the_reader(kind: str, orientation: int) -> None:
    cv2 = pytest.importorskip("cv2")
    data = encoded(kind, orientation=orientation)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image_size(data) == read.shape[:2]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (encoded()[:-200], "truncated"),
        (encoded("PNG")[:-200], "PNG|[Tt]runcated|not an image"),
    ],
    ids=["empty", "text", "cut-jpeg", "cut-png"],
)
def test_unreadable_images(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        image_size(data)


@pytest.mark.parametrize("data", [encoded(size=(40, 9)), encoded("GIF", (40, 9))], ids=["small", "gif"])
def test_what_only_the_check_of_ultralytics_refuses_is_read(data: bytes) -> None:
    assert image_size(data) == (9, 40)
    assert stock_fault(data)


def test_bytes_after_the_end_of_a_jpeg_are_harmless() -> None:
    assert image_size(encoded() + b"\0\0\0") == (30, 40)
