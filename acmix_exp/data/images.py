"""Check that an image file can be read, and measure it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SUFFIXES = frozenset(  # ultralytics' IMG_FORMATS
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
_SMALLEST = 10  # pixels per side, ultralytics' minimum
_ORIENTATION = 274  # EXIF tag
_TRANSPOSED = {5, 6, 7, 8}  # its values that swap height and width
_END_OF_JPEG = b"\xff\xd9"


class ImageError(ValueError):
    """An image that training cannot read."""


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, after EXIF orientation. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
        with Image.open(io.BytesIO(data)) as image:  # verify leaves an image that cannot be used again
            image_format = (image.format or "").lower()
            size = _upright_size(image, data)
        if image_format in ("jpeg", "jpg") and not data.endswith(_END_OF_JPEG):
            # Bytes after the end are harmless, a missing end is not: only decoding distinguishes them.
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except Exception as error:  # PIL raises nearly everything on damaged files, SyntaxError included
        raise ImageError(_reason(error)) from None
    if image_format not in SUFFIXES and image_format != "jpeg2000":
        raise ImageError(f"its format {image_format} is none of {', '.join(sorted(SUFFIXES))}")
    if min(size) < _SMALLEST:
        raise ImageError(f"{size[1]}x{size[0]} pixels, fewer than {_SMALLEST} per side")
    return size


def _upright_size(image: Image.Image, data: bytes) -> tuple[int, int]:
    width, height = image.size
    if image.getexif().get(_ORIENTATION) not in _TRANSPOSED:
        return height, width
    if image.format in ("JPEG", "MPO", "PNG", "AVIF"):
        return width, height
    # Training reads with OpenCV, and whether OpenCV rotates WebP and TIFF depends on its version.
    import cv2  # a slow import, rarely needed

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ImageError("OpenCV cannot decode it")
    return decoded.shape[0], decoded.shape[1]


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    # once ultralytics is imported, PIL also tries its HEIF plug-in
    if isinstance(error, ImportError) or "cannot identify image file" in text:
        return "not an image"
    return text or type(error).__name__
