"""Pascal VOC folders, converted to YOLO layout in the cache: labels are written there, images are linked.

``convert_voc`` first; then the splits, the annotations, and the files that are written.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.images import SUFFIXES, ImageError, image_size
from acmix_exp.data.yolo_layout import read_data_yaml
from acmix_exp.errors import ConfigError
from acmix_exp.files import appearing

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

_VERSION = 1  # part of the cache key: raise it when the conversion changes
_NOTES = "notes.txt"
_VAL_SHARE = 0.2
_SALT = "acmix_exp-0"  # the seed of the split
_FOLDER = "must be a folder with Annotations/*.xml and JPEGImages (or images)"
_OBJECT = "must be <object> with <name> and <bndbox> of xmin ymin xmax ymax in pixels"


class AnnotationError(ValueError):
    """An annotation that cannot be used: ``path: object number: fault; what it must be``."""


@dataclass(frozen=True)
class VocFolder:
    """The files of a VOC folder, by stem."""

    root: Path
    annotations: dict[str, Path]
    images: dict[str, Path]


@dataclass
class Annotation:
    size: tuple[int, int] | None  # height and width in pixels; None if the file does not say
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # objects left out or changed, "path: object number: why"


def convert_voc(path: Path, root: Path) -> Dataset:
    """Return the YOLO form of a VOC folder; convert it below ``root/voc_xml`` unless that is done already.

    The VOC folder is only read. Class names are sorted; objects marked difficult are left out, as VOC's evaluation
    and ultralytics' conversion do. Raises ConfigError, and OSError if ``root`` cannot be written.
    """
    setting = f"dataset.path={path}"
    try:
        folder = _find(path, setting)
        target = root / "voc_xml" / f"{folder.root.name}-{_state(folder)[:12]}"
        content = None if target.is_dir() else _read(folder, setting)
    except OSError as error:
        reason = f"{error.filename or path}: {error.strerror or error}"
        raise ConfigError(f"{setting}: {reason}; must be a readable folder") from None
    if content is not None:
        with appearing(target) as output:
            _write(content, output)
    converted = read_data_yaml(target / "data.yaml")
    notes = tuple((target / _NOTES).read_text(encoding="utf-8").splitlines())
    return Dataset(folder.root.name, converted.names, converted.splits, path.absolute(), setting, notes=notes)


def _find(path: Path, setting: str) -> VocFolder:
    if not path.is_dir():
        raise ConfigError(f"{setting}: {'a file' if path.exists() else 'no such folder'}; {_FOLDER}")
    roots = [path] if (path / "Annotations").is_dir() else [p.parent for p in sorted(path.glob("*/Annotations"))]
    if len(roots) != 1:
        fault = f"Annotations in {', '.join(root.name for root in roots)}" if roots else "no folder Annotations"
        raise ConfigError(f"{setting}: {fault}; {_FOLDER}")
    root = roots[0].absolute()
    folders = [root / name for name in ("JPEGImages", "images") if (root / name).is_dir()]
    annotations = {file.stem: file for file in sorted((root / "Annotations").glob("*.xml"))}
    files = sorted(os.listdir(folders[0])) if folders else []
    images = {Path(name).stem: folders[0] / name for name in files if name.rpartition(".")[2].lower() in SUFFIXES}
    if not annotations or not images:
        fault = "no images in JPEGImages or images" if annotations else "no .xml file in Annotations"
        raise ConfigError(f"{setting}: {fault}; {_FOLDER}")
    return VocFolder(root, annotations, images)


def _state(folder: VocFolder) -> str:
    """sha256 over everything that the conversion reads: paths, sizes and modification times."""
    state = hashlib.sha256(f"{_VERSION} {folder.root}".encode(errors="surrogateescape"))
    lists = sorted((folder.root / "ImageSets" / "Main").glob("*.txt"))
    for path in [*folder.annotations.values(), *folder.images.values(), *lists]:
        stat = path.stat()
        state.update(os.fsencode(path) + f"\0{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return state.hexdigest()


@dataclass(frozen=True)
class _Content:
    """All that is written: class names, by split each image with the rows of its label file, and notes."""

    names: list[str]
    splits: dict[str, list[tuple[Path, list[str]]]]
    notes: list[str]


def _read(folder: VocFolder, setting: str) -> _Content:
    splits, notes = split_names(folder, setting)
    annotations: dict[str, Annotation] = {}
    for stem in sorted({stem for stems in splits.values() for stem in stems}):
        try:
            annotations[stem] = read_annotation(folder.annotations[stem])
        except AnnotationError as error:
            raise ConfigError(f"{setting}: {error}") from None
        notes += annotations[stem].notes
    names = sorted({name for annotation in annotations.values() for name, _ in annotation.boxes})
    if not names:
        raise ConfigError(f"{setting}: no object in any annotation; {_OBJECT}")

    def rows(stem: str) -> list[str]:
        size = annotations[stem].size or _image_size(folder.images[stem])
        return [f"{names.index(name)} {_normalized(box, size)}\n" for name, box in annotations[stem].boxes]

    return _Content(
        names, {split: [(folder.images[stem], rows(stem)) for stem in stems] for split, stems in splits.items()}, notes
    )


def split_names(folder: VocFolder, setting: str) -> tuple[dict[str, list[str]], list[str]]:
    """Stems by split, sorted, and one line for each stem that is left out. Raises ConfigError.

    The lists in ImageSets/Main decide. Without a val list, val is a fifth of train (or of trainval, or of all images),
    chosen by a hash of the names: the same on every machine.
    """
    notes: list[str] = []
    lists = {
        name: _usable(folder, stems, notes)
        for name in ("train", "val", "trainval", "test")
        if (stems := _listed(folder.root / "ImageSets" / "Main" / f"{name}.txt"))
    }
    if not {"train", "val", "trainval"} & set(lists):
        lists["trainval"] = _usable(folder, sorted(set(folder.images) | set(folder.annotations)), notes)
        lists["trainval"] = [stem for stem in lists["trainval"] if stem not in set(lists.get("test", ()))]
    train, val, trainval = (lists.get(name, []) for name in ("train", "val", "trainval"))
    if not train:
        train = [stem for stem in trainval if stem not in set(val)]
    if not val:
        val = [stem for stem in trainval if stem not in set(train)] or _fifth(train)
        train = [stem for stem in train if stem not in set(val)]
    if not train or not val:
        raise ConfigError(f"{setting}: {len(train)} images in train and {len(val)} in val; must be one each at least")
    splits = {"train": train, "val": val}
    if lists.get("test"):
        splits["test"] = lists["test"]
    return {split: sorted(stems) for split, stems in splits.items()}, sorted(set(notes))


def _listed(file: Path) -> list[str]:
    """The first word of every line; in the list of one class a second word says how the class occurs."""
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


def read_annotation(path: Path) -> Annotation:
    """Read an annotation file. Raises AnnotationError, OSError.

    Corners are used as they are, xmin to xmax, as most converters and torchvision's references do; VOC's files count
    pixels from 1, which makes a difference of at most one pixel.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise AnnotationError(f"{path}: not XML: {error}; {_OBJECT}") from None
    except (LookupError, ValueError) as error:  # an encoding that the parser does not read
        raise AnnotationError(f"{path}: {error}; must be UTF-8") from None
    annotation = Annotation(_size(root))
    for number, element in enumerate(root.findall("object"), 1):
        place = f"{path}: object {number}"
        name = (element.findtext("name") or "").strip()
        if not name:
            raise AnnotationError(f"{place}: no name; {_OBJECT}")
        left, top, right, bottom = box = _corners(place, element)
        if (element.findtext("difficult") or "").strip() == "1":
            annotation.notes.append(f"{place}: {name} is marked difficult, box dropped")
        elif right <= left or bottom <= top:
            annotation.notes.append(f"{place}: zero or negative area, {_shown(box)}, box dropped")
        elif annotation.size is None:
            annotation.boxes.append((name, box))
        else:
            height, width = annotation.size
            clipped = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
            if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
                fault = f"out of range, {_shown(box)} is outside of {width}x{height} pixels"
                annotation.notes.append(f"{place}: {fault}, box dropped")
                continue
            if max(abs(one - other) for one, other in zip(box, clipped, strict=True)) > 1:
                fault = f"{_shown(box)} reaches beyond {width}x{height} pixels"
                annotation.notes.append(f"{place}: {fault}, box clipped")
            annotation.boxes.append((name, clipped))
    return annotation


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(root.findtext(f"size/{side}") or "")) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _corners(place: str, element: ElementTree.Element) -> Box:
    values = []
    for corner in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{corner}")
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise AnnotationError(f"{place}: {corner} is {text!r}, not a number; {_OBJECT}")
        values.append(value)
    left, top, right, bottom = values
    return left, top, right, bottom


def _shown(box: Box) -> str:
    return " ".join(f"{value:g}" for value in box)


def _image_size(image: Path) -> tuple[int, int]:
    try:
        return image_size(image.read_bytes())
    except (OSError, ImageError):
        return 1, 1  # the scan will leave this image out and say why


def _normalized(box: Box, size: tuple[int, int]) -> str:
    (left, top, right, bottom), (height, width) = box, size
    values = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return " ".join(f"{value:.8f}" for value in values)


def _write(content: _Content, output: Path) -> None:
    for split, entries in content.splits.items():
        images, labels = output / "images" / split, output / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for image, rows in entries:
            (images / image.name).symlink_to(image)
            (labels / f"{image.stem}.txt").write_text("".join(rows), encoding="utf-8")
    quoted = (name.replace("'", "''") for name in content.names)
    names = "".join(f"  {index}: '{name}'\n" for index, name in enumerate(quoted))
    keys = "".join(f"{split}: images/{split}\n" for split in content.splits)
    (output / "data.yaml").write_text(f"{keys}names:\n{names}", encoding="utf-8")
    (output / _NOTES).write_text("".join(f"{note}\n" for note in content.notes), encoding="utf-8")
