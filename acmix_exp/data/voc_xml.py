"""Pascal VOC folders, converted into YOLO layout in the cache: labels written there, images linked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from acmix_exp.config import ConfigError
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.folders import appearing
from acmix_exp.data.images import SUFFIXES, ImageError, image_size
from acmix_exp.data.voc_annotation import Annotation, AnnotationError, read_annotation
from acmix_exp.data.voc_splits import VocFolder, split_names
from acmix_exp.data.yolo_layout import read_data_yaml

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
