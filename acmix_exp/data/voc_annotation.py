"""One Pascal VOC annotation, with the line numbers that a warning needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_RIGHT = "right is <object> with <name> and <bndbox> of xmin ymin xmax ymax in pixels"


class AnnotationError(ValueError):
    """An annotation that cannot be used: ``path:line: what; what would be right``."""


@dataclass
class Annotation:
    size: tuple[int, int] | None  # height and width in pixels; None where the file does not say
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # objects left out or changed, "path:line: why"


@dataclass
class _Object:
    line: int
    texts: dict[str, str] = field(default_factory=dict)


def read_annotation(path: Path) -> Annotation:
    """Read an annotation file. Raises AnnotationError.

    Corners are taken as they stand, xmin to xmax, as most converters and torchvision's references do; VOC's
    own files count pixels from 1, which makes a difference of a pixel at most.
    """
    size, objects = _parse(path)
    annotation = Annotation(_size(size))
    for found in objects:
        place = f"{path}:{found.line}"
        name = found.texts.get("object/name", "")
        if not name:
            raise AnnotationError(f"{place}: object without a name; {_RIGHT}")
        box = _corners(place, found)
        if found.texts.get("object/difficult") == "1":
            annotation.notes.append(f"{place}: {name} is marked difficult, box dropped")
        elif fault := _fault(box, annotation.size):
            annotation.notes.append(f"{place}: {fault}, box dropped")
        else:
            annotation.boxes.append((name, _clipped(place, box, annotation)))
    return annotation


def _parse(path: Path) -> tuple[dict[str, str], list[_Object]]:
    """Texts of <size> and of every <object>, each by its path below annotation."""
    objects: list[_Object] = []
    size: dict[str, str] = {}
    stack: list[str] = []
    parser = expat.ParserCreate()

    def start(tag: str, _: dict[str, str]) -> None:
        stack.append(tag)
        if stack[1:] == ["object"]:
            objects.append(_Object(parser.CurrentLineNumber))

    def text(data: str) -> None:
        key = "/".join(stack[1:])
        if stack[1:2] == ["object"]:
            objects[-1].texts[key] = objects[-1].texts.get(key, "") + data
        elif stack[1:2] == ["size"]:
            size[key] = size.get(key, "") + data

    def end(_: str) -> None:
        stack.pop()

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    parser.buffer_text = True
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise AnnotationError(f"{path}:{error.lineno}: not XML: {expat.ErrorString(error.code)}; {_RIGHT}") from None
    except (LookupError, ValueError) as error:  # an encoding that expat does not read
        raise AnnotationError(f"{path}:1: {error}; right is UTF-8") from None
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}; {_RIGHT}") from None
    for found in objects:
        found.texts = {key: value.strip() for key, value in found.texts.items()}
    return size, objects


def _size(texts: dict[str, str]) -> tuple[int, int] | None:
    try:
        height, width = (int(float(texts[f"size/{side}"])) for side in ("height", "width"))
    except (KeyError, ValueError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _corners(place: str, found: _Object) -> Box:
    values = []
    for corner in _CORNERS:
        text = found.texts.get(f"object/bndbox/{corner}")
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise AnnotationError(f"{place}: {corner} is {text!r}, not a number; {_RIGHT}")
        values.append(value)
    left, top, right, bottom = values
    return left, top, right, bottom


def _clipped(place: str, box: Box, annotation: Annotation) -> Box:
    """The part of a box that lies in the image; a note where more than a pixel is cut off."""
    if annotation.size is None:
        return box
    height, width = annotation.size
    left, top, right, bottom = box
    clipped = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if max(abs(one - other) for one, other in zip(box, clipped, strict=True)) > 1:
        shown = f"{left:g} {top:g} {right:g} {bottom:g}"
        annotation.notes.append(f"{place}: {shown} reaches beyond {width}x{height} pixels, box clipped")
    return clipped


def _fault(box: Box, size: tuple[int, int] | None) -> str | None:
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return f"zero or negative area, {left:g} {top:g} {right:g} {bottom:g}"
    if size is not None:
        height, width = size
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            return f"out of range, {left:g} {top:g} {right:g} {bottom:g} is outside of {width}x{height} pixels"
    return None
