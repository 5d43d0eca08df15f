"""From the pixels of an annotation to the rows of a label file of the image as training reads it.

Training turns a photo as its EXIF orientation says; many annotation tools draw on the photo as it is stored. Many
photos are also resized after they were annotated. ``place`` finds out which pixels the boxes are in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from acmix_exp.data.images import decode
from acmix_exp.data.voc_annotation import Annotation, Box, shown

Size = tuple[int, int]  # height and width in pixels

_ORIENTATION = 274  # EXIF tag
_TRANSPOSED = (5, 6, 7, 8)  # its values that swap height and width
_TURNED = ("JPEG", "MPO", "PNG", "WEBP")  # formats that OpenCV, with which training reads, turns by it
_OTHER_READERS = (".tif", ".tiff", ".avif", ".heic", ".heif")  # suffixes for which training has another reader
_DECODERS_DIFFER = 8.0  # mean difference of pixels, 0 to 255, between decoders of the same image
_SAME_ASPECT = 0.01  # relative difference between the scales of both axes
_PIXEL = 1.0  # rounding; VOC counts from 1


@dataclass(frozen=True)
class Photo:
    """Sizes of an image file: as stored, and upright, which is how training reads it."""

    stored: Size
    upright: Size
    orientation: int  # from stored to upright, EXIF's 1 (as it is) to 8


def read_photo(path: Path) -> Photo | None:
    """The sizes of an image; None if it cannot be read, which the scan of the data set reports."""
    try:
        with Image.open(path) as image:
            size = image.size[::-1]
            # Pillow decodes a whole PNG in search of an orientation after the pixels.
            late = image.format == "PNG" and "exif" not in image.info
            orientation = 1 if late else image.getexif().get(_ORIENTATION, 1)
            if orientation not in range(2, 9):
                return Photo(size, size, 1)
            if image.format not in _TURNED or path.suffix.lower() in _OTHER_READERS:
                return _compared(path, image, orientation)
    except Exception:  # Pillow raises nearly everything on damaged files
        return None
    return Photo(size, size[::-1] if orientation in _TRANSPOSED else size, orientation)


def _compared(path: Path, image: Image.Image, orientation: int) -> Photo | None:
    """The sizes of an image of a kind that training turns or does not, depending on the version of OpenCV."""
    read = decode(path.read_bytes(), path.suffix.lower())
    if read is None:
        return None
    size = read.shape[:2]
    upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.float32)[..., ::-1]
    if upright.shape != read.shape or np.abs(upright - read).mean() > _DECODERS_DIFFER:
        return Photo(size, size, 1)
    return Photo(size[::-1] if orientation in _TRANSPOSED else size, size, orientation)


def drawn_on(annotation: Annotation, photo: Photo) -> str:
    """Whether the boxes are in pixels of the ``upright`` or of the ``stored`` photo; empty if nothing shows it."""
    if photo.orientation == 1 or not annotation.objects:
        return "upright"
    sizes = {"upright": photo.upright, "stored": photo.stored}
    if annotation.size is not None:
        fit = {name: _agreement(annotation.size, size) for name, size in sizes.items()}
    else:
        fit = {name: int(_inside(annotation, size)) for name, size in sizes.items()}
    return "" if fit["upright"] == fit["stored"] else max(fit, key=lambda name: fit[name])


def place(annotation: Annotation, photo: Photo | None, frame: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Class name and ``x_center y_center width height`` of each box as fractions of the upright image, and notes.

    ``photo`` is None for an image that cannot be read; ``frame`` says what the boxes were drawn on, ``upright`` or
    ``stored``.
    """
    if photo is None:
        if annotation.size is None:
            return [], []
        photo = Photo(annotation.size, annotation.size, 1)
    size, notes = _pixels(annotation, photo.stored if frame == "stored" else photo.upright)
    rows: dict[tuple[str, str], int] = {}
    for thing in annotation.objects:
        where = f"{annotation.path}: object {thing.number}"
        clipped = _clipped(thing.box, size)
        extent = f"{size[1]}x{size[0]} pixels"
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            notes.append(f"{where}: out of range, {shown(thing.box)} is outside of {extent}, box dropped")
            continue
        if _excess(thing.box, size) > _PIXEL:
            notes.append(f"{where}: {shown(thing.box)} reaches beyond {extent}, box clipped")
        row = thing.name, _normalized(*_turned(clipped, size, photo.orientation if frame == "stored" else 1))
        if row in rows:
            notes.append(f"{where}: the same name and box as object {rows[row]}, duplicate dropped")
        rows.setdefault(row, thing.number)
    return list(rows), notes


def _pixels(annotation: Annotation, image: Size) -> tuple[Size, list[str]]:
    """The size that the boxes are relative to, and a note if the annotation states another one than the image has."""
    stated = annotation.size
    if stated is None:
        return image, []
    agreement = _agreement(stated, image)
    if agreement == 2:
        return stated, []
    fault = f"{annotation.path}: size is {_by(stated)}, but the image has {_by(image)} pixels"
    if _inside(annotation, image):
        if not _inside(annotation, stated):
            return image, [f"{fault}; boxes are inside the image and not inside this size, used as they are"]
        if stated == image[::-1]:
            return image, [f"{fault}: width and height are swapped; boxes are inside the image, used as they are"]
    if agreement == 1:
        return stated, [f"{fault}; of the same shape, boxes scaled to the image"]
    return stated, [f"{fault}, of another shape; boxes scaled to the image by width and height, must be checked"]


def _agreement(size: Size, other: Size) -> int:
    """2 for the same size, 1 for the same aspect, else 0."""
    if max(abs(one - two) for one, two in zip(size, other, strict=True)) <= _PIXEL:
        return 2
    # Sides of a resized image are rounded to pixels, which changes the scale of a small image by more than a hundredth.
    slack = max(_SAME_ASPECT, _PIXEL / min(*size, *other))
    scales = size[0] / other[0], size[1] / other[1]
    return int(abs(scales[0] / scales[1] - 1) <= slack)


def _clipped(box: Box, size: Size) -> Box:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(size[1])), min(bottom, float(size[0]))


def _excess(box: Box, size: Size) -> float:
    """By how many pixels a box reaches beyond an image."""
    return max(abs(one - other) for one, other in zip(box, _clipped(box, size), strict=True))


def _inside(annotation: Annotation, size: Size) -> bool:
    return all(_excess(thing.box, size) <= _PIXEL for thing in annotation.objects)


def _turned(box: Box, size: Size, orientation: int) -> tuple[Box, Size]:
    """A box on the stored photo as it is on the upright one, and the size of that."""
    (left, top, right, bottom), (height, width) = box, size
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if orientation in _TRANSPOSED:
        return (top, left, bottom, right), (width, height)
    return (left, top, right, bottom), size


def _normalized(box: Box, size: Size) -> str:
    (left, top, right, bottom), (height, width) = box, size
    values = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return " ".join(f"{value:.8f}" for value in values)


def _by(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
