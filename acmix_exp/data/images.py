"""Which files are images, whether they can be read, and how large they are."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SUFFIXES = frozenset(  # ultralytics' IMG_FORMATS
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
_SMALLEST = 10  # pixels a side, as ultralytics asks
_ORIENTATION = 274  # EXIF tag
_LYING = {5, 6, 7, 8}  # its values that swap height and width
_END_OF_JPEG = b"\xff\xd9"


class ImageError(ValueError):
    """An image that training could not read."""


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, after EXIF orientation. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()
        with Image.open(io.BytesIO(data)) as image:  # verify leaves an image that cannot be used further
            kind = (image.format or "").lower()
            size = _upright_size(image, data)
        if kind in ("jpeg", "jpg") and not data.endswith(_END_OF_JPEG):
            # Bytes after the end are harmless and a missing end is not: only decoding tells the two apart.
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except Exception as error:  # PIL raises nearly everything on damaged files, SyntaxError included
        raise ImageError(_reason(error)) from None
    if kind not in SUFFIXES and kind != "jpeg2000":
        raise ImageError(f"its format {kind} is none of {', '.join(sorted(SUFFIXES))}")
    if min(size) < _SMALLEST:
        raise ImageError(f"{size[1]}x{size[0]} pixels, fewer than {_SMALLEST} a side")
    return size


def _upright_size(image: Image.Image, data: bytes) -> tuple[int, int]:
    width, height = image.size
    if image.getexif().get(_ORIENTATION) not in _LYING:
        return height, width
    if image.format in ("JPEG", "MPO", "PNG", "AVIF"):
        return width, height
    # Whether OpenCV turns WebP and TIFF depends on its version, and OpenCV is what training reads with.
    import cv2  # slow to import and rarely needed

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ImageError("OpenCV cannot decode it")
    return decoded.shape[0], decoded.shape[1]


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    # once ultralytics is imported, PIL goes on to ask for its HEIF plug-in
    if isinstance(error, ImportError) or "cannot identify image file" in text:
        return "not an image"
    return text or type(error).__name__
