"""Decide whether training can use an image file, and measure it: with the reader that training uses.

That reader is ``ultralytics.utils.patches.imread`` with ``IMREAD_COLOR``; :func:`decode` does the same to bytes without
importing torch, and a test compares the two on about a hundred odd files.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import numpy as np
import PIL
from PIL import Image, ImageOps

LISTED = frozenset(  # ultralytics' IMG_FORMATS
    ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
# Its reader also reads these, so a file with such a suffix is an image here.
SUFFIXES = LISTED | frozenset(("dib", "gif", "hdr", "jfif", "jpe", "pbm", "pfm", "pgm", "pnm", "ppm", "ras", "sr"))
# What people also keep beside images, and nothing here reads.
OTHER_IMAGES = frozenset(
    ("arw", "cr2", "cr3", "dcm", "exr", "ico", "jxl", "nef", "orf", "pcx", "psd", "raf", "rw2", "svg", "tga", "xcf")
)
_SMALLEST = 10  # pixels per side that the check of ultralytics asks for; its reader asks for none
_SUBFILE_TYPE = 254  # TIFF tag; bit 0: a smaller version of another page
_END_OF_JPEG = b"\xff\xd9"

# The reader of training decides; what PIL says of large images and of broken EXIF data names no file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageError(ValueError):
    """An image that training cannot use."""


def image_size(data: bytes, suffix: str = "") -> tuple[int, int]:
    """Height and width in pixels of an encoded image as training reads it. Raises ImageError.

    suffix: that of the file's name, such as ``.tif``: the reader depends on it.
    """
    pixels = decode(data, suffix.lower())
    if pixels is None:
        raise ImageError(_reason(data, suffix.lower()))
    height, width = pixels.shape[:2]
    if not height or not width:
        raise ImageError(f"{width}x{height} pixels")
    if pixels.dtype != np.uint8:
        raise ImageError(f"{pixels.dtype} pixels; training needs 8 or 16 bits per channel")
    if pixels.shape[2] != 3:
        raise ImageError(f"{pixels.shape[2]} channels; training needs grey, colour, or colour and alpha")
    if data.startswith(b"\xff\xd8") and not data.endswith(_END_OF_JPEG):
        # Bytes after the end are harmless. Without an end part of the picture may be missing, which only PIL reports.
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except Exception as error:
            raise ImageError(str(error).split("\n")[0]) from None
    return height, width


def decode(data: bytes, suffix: str) -> np.ndarray | None:
    """The pixels as training reads them, ``[height, width, channels]`` with blue first; None if it cannot."""
    import cv2  # a slow import, which a cached scan does not need

    if not data:
        return None
    encoded, pixels = np.frombuffer(data, np.uint8), None
    try:
        if suffix in (".tif", ".tiff"):
            read, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED)
            if read and pages[0].ndim == 3:
                pixels = pages[0][..., :3]
        if suffix in (".avif", ".heic", ".heif"):
            pixels = _decode_with_pil(data)
        if pixels is None:
            pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if pixels is not None and pixels.dtype == np.uint16:
        pixels = np.right_shift(pixels, 8).astype(np.uint8)
    return pixels[..., None] if pixels is not None and pixels.ndim == 2 else pixels


def _decode_with_pil(data: bytes) -> np.ndarray | None:
    try:
        try:
            from pi_heif import register_heif_opener  # type: ignore[import-not-found]

            register_heif_opener()
        except ImportError:
            pass
        with ImageOps.exif_transpose(Image.open(io.BytesIO(data))) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1]
    except Exception:  # as in ultralytics, whose reader then tries OpenCV
        return None


def _reason(data: bytes, suffix: str) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1"):
        right = "the package pi-heif" if suffix in (".heic", ".heif") else "the suffix .heic and the package pi-heif"
        return f"HEIC, which training reads only with {right}"
    fault = stock_fault(data)
    if fault is None or "pixels, fewer than" in fault or fault.startswith("its format"):
        return "OpenCV, with which training reads, cannot decode it"
    return fault


def stock_fault(data: bytes) -> str | None:
    """Why ultralytics' own check, which asks PIL, would leave an encoded image out; None if it would not."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            size, image_format = image.size, (image.format or "").lower()
            image.verify()
        if image_format in ("jpeg", "jpg") and not data.endswith(_END_OF_JPEG):
            with Image.open(io.BytesIO(data)) as image:
                image.load()
    except Exception as error:  # PIL raises nearly everything on damaged files, SyntaxError included
        text = str(error).split("\n")[0]
        # Once ultralytics is imported, PIL also tries its HEIF plug-in.
        unknown = isinstance(error, ImportError) or "cannot identify image file" in text
        return "not an image" if unknown else text or type(error).__name__
    if image_format not in LISTED and image_format != "jpeg2000":
        return f"its format {image_format} is none of {', '.join(sorted(LISTED))}"
    if min(size) < _SMALLEST:
        return f"{size[0]}x{size[1]} pixels, fewer than {_SMALLEST} per side"
    return None


def page_count(data: bytes) -> int:
    """How many pages or frames an encoded image has, without previews and smaller versions; training reads the first.

    1 for files that Pillow cannot read.
    """
    several = data[:4] in (b"II*\0", b"MM\0*", b"GIF8", b"RIFF") or b"acTL" in data[:256] or data[4:12] == b"ftypavis"
    if not several:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as image:
            count = int(getattr(image, "n_frames", 1))
            if image.format != "TIFF":
                return count
            kinds = []
            for page in range(count):
                image.seek(page)
                kinds.append(image.tag_v2.get(_SUBFILE_TYPE, 0))  # type: ignore[attr-defined]
            return 1 + sum(not kind & 1 for kind in kinds[1:])
    except Exception:
        return 1


def reader_version() -> str:
    """What the verdicts depend on beside the files: PIL's version and the time that OpenCV was installed."""
    spec = importlib.util.find_spec("cv2")  # not imported: a scan that is cached needs no reader
    return f"{PIL.__version__} {os.stat(spec.origin).st_mtime_ns if spec and spec.origin else '-'}"


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what the C libraries of OpenCV write to file descriptor 2 off the terminal; what Python writes still shows.

    They write about every unusual file without naming it.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    with open(terminal, "w", encoding="utf-8", errors="backslashreplace", buffering=1) as writer:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            if _descriptor(sys.stderr) == 2:
                with redirect_stderr(writer):
                    yield
            else:
                yield
        finally:
            os.dup2(terminal, 2)


def _descriptor(stream: object) -> int | None:
    try:
        return stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
