"""One annotation file of a Pascal VOC folder: its objects, the size that it states, and the objects left out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

OBJECT = "must be <object> with <name> and <bndbox> of xmin ymin xmax ymax in pixels"
_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']+)["']""")
_MULTIBYTE = ("gbk", "gb2312", "gb18030", "big5", "shift_jis", "shift-jis", "cp932", "euc-jp", "euc-kr", "cp949")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MARKS = ("difficult", "deleted")  # of VOC, of LabelMe
_YES = ("1", "1.0", "true", "yes", "y", "t")
_NO = ("0", "0.0", "false", "no", "n", "f", "", "unspecified", "none")


class AnnotationError(ValueError):
    """An annotation that cannot be used: ``path: object number: fault; what it must be``."""


@dataclass(frozen=True)
class VocObject:
    number: int  # in the file, from 1
    name: str
    box: Box


@dataclass
class Annotation:
    path: Path
    size: tuple[int, int] | None  # height and width in pixels; None if the file does not say
    filename: str  # the image that the file names, without folders; may be empty
    objects: list[VocObject] = field(default_factory=list)
    without_area: int = 0  # objects left out because their box has no area
    notes: list[str] = field(default_factory=list)  # objects left out, "path: object number: why"


def read_annotation(path: Path) -> Annotation:
    """Read an annotation file. Raises AnnotationError, OSError.

    Corners are used as they are, xmin to xmax, as most converters and torchvision's references do; VOC's files count
    pixels from 1, which makes a difference of at most one pixel. Objects marked difficult are left out, and so are
    boxes without area. The box of an object with a polygon alone is the one around it.
    """
    root = _parse(path)
    if (count := len(list(root.iter("annotation")))) > 1:
        raise AnnotationError(f"{path}: {count} <annotation>; must be one file for each image")
    objects = list(root.iter("object"))
    if not objects and (root.tag != "annotation" or root.find(".//bndbox") is not None):
        raise AnnotationError(f"{path}: <{root.tag}> without <object>; {OBJECT} in <annotation>")
    filename = (root.findtext("filename") or "").strip().replace("\\", "/").rpartition("/")[2]
    annotation = Annotation(path, _size(root), filename)
    for number, element in enumerate(objects, 1):
        place = f"{path}: object {number}"
        name = _name(place, element)
        box = _box(place, element)
        marks = {mark: (element.findtext(mark) or "").strip().lower() for mark in _MARKS}
        for mark, text in marks.items():
            if text not in (*_YES, *_NO):
                annotation.notes.append(f"{place}: {mark} is {text!r}, neither 0 nor 1, box kept")
        if marked := [mark for mark, text in marks.items() if text in _YES]:
            annotation.notes.append(f"{place}: {name} is marked {marked[0]}, box dropped")
        elif box[2] <= box[0] or box[3] <= box[1]:
            annotation.notes.append(f"{place}: zero or negative area, {shown(box)}, box dropped")
            annotation.without_area += 1
        else:
            annotation.objects.append(VocObject(number, name, box))
    return annotation


def shown(box: Box) -> str:
    return " ".join(f"{value:g}" for value in box)


def _name(place: str, element: ElementTree.Element) -> str:
    names = element.findall("name")
    if len(names) > 1:
        raise AnnotationError(f"{place}: {len(names)} <name>; {OBJECT}, one each")
    # A line break within a name is one of the file's layout.
    name = re.sub(r"\s*[\r\n\t]\s*", " ", "".join(names[0].itertext()).strip()) if names else ""
    if not name:
        raise AnnotationError(f"{place}: no name; {OBJECT}")
    return name


def _parse(path: Path) -> ElementTree.Element:
    """The elements of an XML file, with tags in lower case and without the prefix of a namespace."""
    builder = ElementTree.TreeBuilder()
    data, encoding = _decoded(path.read_bytes())
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    parser.StartElementHandler = lambda tag, _: builder.start(_local(tag), {})
    parser.EndElementHandler = lambda tag: builder.end(_local(tag))
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        # A few entities that name each other expand to gigabytes, and others read files.
        raise AnnotationError(f"{path}: it defines XML entities; must be without <!ENTITY")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise AnnotationError(f"{path}: not XML: {error}; {OBJECT}") from None
    except (LookupError, ValueError) as error:  # an encoding that the parser does not read
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}: {error}; must be UTF-8") from None


def _decoded(data: bytes) -> tuple[bytes, str | None]:
    """The bytes of an XML file, and their encoding where it is another one than the file says."""
    declared = _DECLARED.match(data)
    name = declared[1].decode("ascii", "replace").lower() if declared else ""
    if name.startswith("utf-16"):  # .NET writes this into files in UTF-8
        return data, "utf-8"
    if name in _MULTIBYTE:  # the parser reads none of these
        try:
            return data.decode(name).encode(), "utf-8"
        except UnicodeDecodeError:
            pass
    return data, None


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(root.findtext(f"size/{side}") or "")) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _box(place: str, element: ElementTree.Element) -> Box:
    boxes, polygon = element.findall("bndbox"), element.find("polygon")
    if len(boxes) > 1:
        raise AnnotationError(f"{place}: {len(boxes)} <bndbox>; {OBJECT}, one each")
    if not boxes and polygon is not None:
        return _around(place, polygon)
    if not boxes and element.find("robndbox") is not None:
        raise AnnotationError(f"{place}: a rotated box, <robndbox>; {OBJECT}")
    if not boxes:
        raise AnnotationError(f"{place}: no <bndbox>; {OBJECT}")
    left, top, right, bottom = (_number(place, corner, element.findtext(f"bndbox/{corner}")) for corner in _CORNERS)
    if max(right, bottom) <= 1 and any(value % 1 for value in (left, top, right, bottom)):
        raise AnnotationError(f"{place}: {shown((left, top, right, bottom))} are fractions of the image; {OBJECT}")
    return left, top, right, bottom


def _around(place: str, polygon: ElementTree.Element) -> Box:
    """The box around a polygon of elements x1 y1 x2 y2 ... or of points with x and y."""
    axes: dict[str, list[float]] = {"x": [], "y": []}
    for element in polygon.iter():
        if re.fullmatch(r"[xy]\d*", element.tag):
            axes[element.tag[0]].append(_number(place, element.tag, element.text))
    if not axes["x"] or len(axes["x"]) != len(axes["y"]):
        raise AnnotationError(f"{place}: a polygon without points x1 y1 x2 y2 ...; {OBJECT}")
    return min(axes["x"]), min(axes["y"]), max(axes["x"]), max(axes["y"])


def _number(place: str, tag: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(f"{place}: {tag} is {text!r}, not a number; {OBJECT}")
    return value
