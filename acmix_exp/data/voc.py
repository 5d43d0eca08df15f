"""Pascal VOC folders, converted into YOLO layout in the cache: labels written there, images linked."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.images import SUFFIXES, ImageError, image_size
from acmix_exp.data.yolo_layout import read_data_yaml
from acmix_exp.errors import ConfigError
from acmix_exp.files import appearing

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_OBJECT_FORM = "right is <object> with <name> and <bndbox> of xmin ymin xmax ymax in pixels"


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
            raise AnnotationError(f"{place}: object without a name; {_OBJECT_FORM}")
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
        raise AnnotationError(
            f"{path}:{error.lineno}: not XML: {expat.ErrorString(error.code)}; {_OBJECT_FORM}"
        ) from None
    except (LookupError, ValueError) as error:  # an encoding that expat does not read
        raise AnnotationError(f"{path}:1: {error}; right is UTF-8") from None
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}; {_OBJECT_FORM}") from None
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
            raise AnnotationError(f"{place}: {corner} is {text!r}, not a number; {_OBJECT_FORM}")
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


_VAL_SHARE = 0.2
_SALT = "acmix_exp-0"  # the seed of the split


@dataclass(frozen=True)
class VocFolder:
    """The files of a VOC folder, by stem."""

    root: Path
    annotations: dict[str, Path]
    images: dict[str, Path]


def split_names(folder: VocFolder, setting: str) -> tuple[dict[str, list[str]], list[str]]:
    """Stems by split, sorted, and one line for each that is left out. Raises ConfigError.

    Lists in ImageSets/Main are followed. Without a val list, a fifth of train (or trainval, or of all images)
    is taken, chosen by a hash of the names: the same on every machine.
    """
    notes: list[str] = []
    lists = {
        name: _usable(folder, stems, notes)
        for name in ("train", "val", "trainval", "test")
        if (stems := _read(folder.root / "ImageSets" / "Main" / f"{name}.txt"))
    }
    if not {"train", "val", "trainval"} & set(lists):
        lists["trainval"] = _usable(folder, sorted(set(folder.images) | set(folder.annotations)), notes)
        lists["trainval"] = [stem for stem in lists["trainval"] if stem not in set(lists.get("test", ()))]
    train, val, pool = (lists.get(name, []) for name in ("train", "val", "trainval"))
    if not train and val:
        train = [stem for stem in pool if stem not in set(val)]
    elif not train:
        train = pool
    if not val:
        rest = [stem for stem in pool if stem not in set(train)]
        val = rest or _fifth(train)
        train = [stem for stem in train if stem not in set(val)]
    if not train or not val:
        raise ConfigError(f"{setting}: {len(train)} images to train on and {len(val)} for val; right is one of each")
    splits = {"train": train, "val": val}
    if lists.get("test"):
        splits["test"] = lists["test"]
    return {split: sorted(stems) for split, stems in splits.items()}, sorted(set(notes))


def _read(file: Path) -> list[str]:
    """The first word of every line; the list of a class has a second one that says how it occurs."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _usable(folder: VocFolder, stems: list[str], notes: list[str]) -> list[str]:
    usable = []
    for stem in stems:
        if stem not in folder.images:
            notes.append(f"{folder.annotations.get(stem, stem)}: annotation without image")
        elif stem not in folder.annotations:
            notes.append(f"{folder.images[stem]}: image without annotation")
        else:
            usable.append(stem)
    return usable


def _fifth(stems: list[str]) -> list[str]:
    ranked = sorted(stems, key=lambda stem: hashlib.sha256(f"{_SALT}/{stem}".encode()).digest())
    return ranked[: max(1, round(_VAL_SHARE * len(stems)))] if len(stems) > 1 else []


_VERSION = 1  # part of the cache key: raise it when the conversion changes
_NOTES = "notes.txt"
_RIGHT = "right is a folder with Annotations/*.xml and JPEGImages (or images)"


def convert_voc(path: Path, root: Path) -> Dataset:
    """Return the YOLO form of a VOC folder, converting it below ``root/voc_xml`` unless that is done already.

    The folder itself is only read. Class names are sorted; objects marked difficult are left out, as VOC's
    own evaluation and ultralytics' conversion do. Raises ConfigError, and OSError where ``root`` cannot be written.
    """
    setting = f"dataset.path={path}"
    folder = _find(path, setting)
    target = root / "voc_xml" / f"{folder.root.name}-{_state(folder)[:12]}"
    if not target.is_dir():
        with appearing(target) as made:
            _convert(folder, made, setting)
    converted = read_data_yaml(target / "data.yaml")
    notes = tuple((target / _NOTES).read_text(encoding="utf-8").splitlines())
    return Dataset(folder.root.name, converted.names, converted.splits, path.absolute(), setting, notes=notes)


def _find(path: Path, setting: str) -> VocFolder:
    if not path.is_dir():
        what = "a file" if path.exists() else "no such folder"
        raise ConfigError(f"{setting}: {what}; {_RIGHT}")
    roots = [path] if (path / "Annotations").is_dir() else [p.parent for p in sorted(path.glob("*/Annotations"))]
    if len(roots) != 1:
        found = f"Annotations in {', '.join(root.name for root in roots)}" if roots else "no folder Annotations"
        raise ConfigError(f"{setting}: {found}; {_RIGHT}")
    root = roots[0].absolute()
    places = [root / name for name in ("JPEGImages", "images") if (root / name).is_dir()]
    annotations = {file.stem: file for file in sorted((root / "Annotations").glob("*.xml"))}
    files = sorted(os.listdir(places[0])) if places else []
    images = {Path(name).stem: places[0] / name for name in files if name.rpartition(".")[2].lower() in SUFFIXES}
    if not annotations or not images:
        what = "no images in JPEGImages or images" if annotations else "no .xml file in Annotations"
        raise ConfigError(f"{setting}: {what}; {_RIGHT}")
    return VocFolder(root, annotations, images)


def _state(folder: VocFolder) -> str:
    """sha256 over everything the conversion reads: places, sizes and modification times."""
    state = hashlib.sha256(f"{_VERSION} {folder.root}".encode(errors="surrogateescape"))
    lists = sorted((folder.root / "ImageSets" / "Main").glob("*.txt"))
    for path in [*folder.annotations.values(), *folder.images.values(), *lists]:
        found = path.stat()
        state.update(os.fsencode(path) + f"\0{found.st_size} {found.st_mtime_ns}\0".encode())
    return state.hexdigest()


def _convert(folder: VocFolder, made: Path, setting: str) -> None:
    splits, notes = split_names(folder, setting)
    annotations: dict[str, Annotation] = {}
    for stem in sorted({stem for stems in splits.values() for stem in stems}):
        try:
            annotations[stem] = read_annotation(folder.annotations[stem])
        except AnnotationError as error:
            raise ConfigError(f"{setting}: {error}") from None
        notes += annotations[stem].notes
    names = sorted({label for annotation in annotations.values() for label, _ in annotation.boxes})
    if not names:
        raise ConfigError(f"{setting}: no object in any annotation; right are <object> elements with name and bndbox")
    for split, stems in splits.items():
        images, labels = made / "images" / split, made / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for stem in stems:
            image = folder.images[stem]
            (images / image.name).symlink_to(image)
            size = annotations[stem].size or _size_of(image)
            rows = [f"{names.index(label)} {_normalised(box, size)}\n" for label, box in annotations[stem].boxes]
            (labels / f"{stem}.txt").write_text("".join(rows), encoding="utf-8")
    listed = "".join(f"  {index}: {_quoted(name)}\n" for index, name in enumerate(names))
    keys = "".join(f"{split}: images/{split}\n" for split in splits)
    (made / "data.yaml").write_text(f"{keys}names:\n{listed}", encoding="utf-8")
    (made / _NOTES).write_text("".join(f"{note}\n" for note in notes), encoding="utf-8")


def _size_of(image: Path) -> tuple[int, int]:
    try:
        return image_size(image.read_bytes())
    except (OSError, ImageError):
        return 1, 1  # the scan will leave this image out and say why


def _normalised(box: tuple[float, float, float, float], size: tuple[int, int]) -> str:
    (left, top, right, bottom), (height, width) = box, size
    values = (
        (left + right) / 2 / width,
        (top + bottom) / 2 / height,
        (right - left) / width,
        (bottom - top) / height,
    )
    return " ".join(f"{value:.8f}" for value in values)


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
