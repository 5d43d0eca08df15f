"""Pascal VOC folders, converted to YOLO layout in the cache: labels are written there, images are linked.

The files and their pairs are found in voc_layout.py, the splits made in voc_split.py, annotations read in
voc_annotation.py, and boxes put on the images in voc_boxes.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from acmix_exp.data.class_names import plain_form
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.label_files import label_path
from acmix_exp.data.voc_annotation import OBJECT, Annotation, AnnotationError, read_annotation
from acmix_exp.data.voc_boxes import drawn_on, place, read_photo
from acmix_exp.data.voc_layout import VocFolder, find_voc
from acmix_exp.data.voc_split import Splits, split_voc
from acmix_exp.errors import ConfigError
from acmix_exp.files import appearing, read_json

_VERSION = 3  # part of the cache key: raise it when the conversion changes
_RECORD = "conversion.json"
# How a note on a box or an image that is not trained on as it is in the folder ends.
_LOSSES = ("dropped", "clipped", "left out", "without annotation", "without image")


def convert_voc(path: Path, root: Path) -> Dataset:
    """Return the YOLO form of a VOC folder; convert it below ``root/voc_xml`` unless that is done already.

    The VOC folder is only read. Class names are sorted; objects marked difficult are left out, as VOC's evaluation
    and ultralytics' conversion do. Raises ConfigError, and OSError if ``root`` cannot be written.
    """
    setting = f"dataset.path={path}"
    try:
        folder = find_voc(path, setting, skip=root / "voc_xml")
        target = root / "voc_xml" / f"{folder.root.name}-{_state(folder)[:12]}"
        dataset = _converted(folder, target, path, setting)
        content = None if dataset else _read(folder, setting)
    except OSError as error:
        reason = f"{error.filename or path}: {error.strerror or error}"
        raise ConfigError(f"{setting}: {reason}; must be readable") from None
    if content is not None:
        if target.exists():
            shutil.rmtree(target)  # files of it are missing
        with appearing(target) as output:
            _write(content, output)
        dataset = _converted(folder, target, path, setting)
    if dataset is None:
        raise OSError(None, "files are missing right after they were written", str(target))
    return dataset


def _state(folder: VocFolder) -> str:
    """sha256 over everything that the conversion reads: which files, their sizes and the times of their last change.

    The time of the last change of the inode is among them: tools that edit a file can set back the other one.
    """
    state = hashlib.sha256(repr((_VERSION, str(folder.root), folder.parts, folder.notes)).encode())
    used = [path for pair in folder.pairs.values() for path in (pair.annotation, pair.image)]
    for path in [*used, *folder.images.values(), *folder.annotations.values(), *folder.texts]:
        stat = path.stat() if path.exists() else path.lstat()  # a link to nothing
        state.update(os.fsencode(path) + f"\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\0".encode())
    return state.hexdigest()


@dataclass
class _Content:
    """All that is written."""

    names: list[str]  # of the classes
    split_made: str
    notes: list[str]
    # by split: path of the link below images/SPLIT, the image, its annotation, the rows of its label file
    splits: dict[str, list[tuple[str, Path, Path, list[str]]]] = field(default_factory=dict)


def _read(folder: VocFolder, setting: str) -> _Content:
    splits = split_voc(folder, setting)
    notes = [*folder.notes, *splits.notes]
    annotations: dict[str, Annotation] = {}
    for key in sorted({key for keys in splits.names.values() for key in keys}):
        try:
            annotations[key] = read_annotation(folder.pairs[key].annotation)
        except AnnotationError as error:
            raise ConfigError(f"{setting}: {error}") from None
        notes += annotations[key].notes
    rows = _place_all(folder, annotations, notes)
    _leave_out_emptied(folder, splits, annotations, rows, notes)
    classes: dict[str, Path] = {}
    for key in annotations:
        for name, _ in rows[key]:
            classes.setdefault(name, folder.pairs[key].annotation)
    if not classes:
        raise ConfigError(f"{setting}: no object in any annotation; {OBJECT}")
    for split, keys in splits.names.items():
        if not any(rows[key] for key in keys) and any(read_photo(folder.pairs[key].image) for key in keys):
            raise ConfigError(f"{setting}: no box in {split}, such as in {annotations[keys[0]].path}; {OBJECT}")
    notes += [*_alike(classes), *_other_names(folder, annotations)]
    names = sorted(classes)
    content = _Content(names, splits.made, sorted(set(notes)))
    for split, keys in splits.names.items():
        content.splits[split] = [
            (
                f"{key}{pair.image.suffix}",
                pair.image,
                pair.annotation,
                [f"{names.index(name)} {box}\n" for name, box in rows[key]],
            )
            for key in keys
            for pair in [folder.pairs[key]]
        ]
    return content


def _place_all(
    folder: VocFolder, annotations: dict[str, Annotation], notes: list[str]
) -> dict[str, list[tuple[str, str]]]:
    """Rows by key. An annotation tool either turns photos as their EXIF orientation says or it does not: where one
    photo does not show it, the others of the folder decide.
    """
    photos = {key: read_photo(folder.pairs[key].image) for key in annotations}
    turned = {key: photo for key, photo in photos.items() if photo and photo.orientation != 1}
    frames = {key: drawn_on(annotations[key], photo) for key, photo in turned.items()}
    shown = set(frames.values()) - {""}
    usual = "stored" if shown == {"stored"} else "upright"
    rows = {}
    for key, annotation in annotations.items():
        frame = frames.get(key, "upright")
        if not frame:
            frame = usual
            notes.append(
                f"{annotation.path}: {folder.pairs[key].image.name} has EXIF orientation {turned[key].orientation} and "
                f"nothing shows whether its boxes were drawn before or after turning it; taken as drawn "
                f"{'before' if usual == 'stored' else 'after'} it{', as those of others' if shown == {usual} else ''}"
            )
        rows[key], more = place(annotation, photos[key], frame)
        notes += more
    return rows


def _leave_out_emptied(
    folder: VocFolder,
    splits: Splits,
    annotations: dict[str, Annotation],
    rows: dict[str, list[tuple[str, str]]],
    notes: list[str],
) -> None:
    """Leave out images none of whose boxes can be used: without them they would be background, which they are not."""
    for key, annotation in annotations.items():
        image = folder.pairs[key].image
        if rows[key] or not (annotation.objects or annotation.without_area) or read_photo(image) is None:
            continue
        notes.append(f"{annotation.path}: none of its boxes can be used, {image.name} left out")
        for keys in splits.names.values():
            if key in keys and len(keys) > 1:
                keys.remove(key)


def _alike(classes: dict[str, Path]) -> list[str]:
    """One note for each class whose name is nearly that of another one."""
    notes: list[str] = []
    first: dict[str, str] = {}
    for name in sorted(classes):
        other = first.setdefault(plain_form(name), name)
        if other != name:
            notes.append(f"{classes[name]}: class {name!r} is not class {other!r} of {classes[other]}, both are kept")
    return notes


def _other_names(folder: VocFolder, annotations: dict[str, Annotation]) -> list[str]:
    """Notes on annotations that name another image than the one that has their own name, which is used."""
    images = {pair.image.name for pair in folder.pairs.values()}
    notes, unknown = [], []
    for key, annotation in annotations.items():
        image = folder.pairs[key].image
        if not annotation.filename or annotation.filename.rpartition(".")[0] == image.stem:
            continue
        if annotation.filename in (image.name, image.stem):
            continue
        note = f"{annotation.path}: filename is {annotation.filename!r}, used with {image.name}"
        if annotation.filename in images:
            notes.append(f"{note}, though this image is there too")
        else:
            unknown.append(note)
    # Files that were all renamed after they were annotated are common and harmless.
    more = f" (and {len(unknown) - 1} more files like it)" if len(unknown) > 1 else ""
    return [*notes, *(f"{note}{more}" for note in unknown[:1])]


def _write(content: _Content, output: Path) -> None:
    files: dict[str, list[list[str]]] = {split: [] for split in content.splits}
    for split, entries in content.splits.items():
        for name, image, annotation, rows in entries:
            link = output / "images" / split / name
            label = output / "labels" / split / Path(name).with_suffix(".txt")
            for file in (link, label):
                file.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(image)
            label.write_text("".join(rows), encoding="utf-8")
            files[split].append([name, str(image), str(annotation)])
    record = {"names": content.names, "split_made": content.split_made, "notes": content.notes, "splits": files}
    keys = {split: f"images/{split}" for split in content.splits}
    data = {**keys, "names": dict(enumerate(content.names))}
    (output / "data.yaml").write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    (output / _RECORD).write_text(json.dumps(record), encoding="utf-8")


def _converted(folder: VocFolder, target: Path, path: Path, setting: str) -> Dataset | None:
    """The data set that was written to ``target``; None if there is none or files of it are missing."""
    record = read_json(target / _RECORD)
    if record is None:
        return None
    splits: dict[str, tuple[Path, ...]] = {}
    origins: dict[Path, Path] = {}
    for split, entries in record["splits"].items():
        links = {target / "images" / split / name: (image, annotation) for name, image, annotation in entries}
        splits[split] = tuple(sorted(links, key=str))
        for link, (image, annotation) in links.items():
            label = label_path(link)
            if not (link.is_symlink() and label.is_file()):
                return None
            origins[link], origins[label] = Path(image), Path(annotation)
    return Dataset(
        name=folder.root.name,
        names=dict(enumerate(record["names"])),
        splits=splits,
        source=path.absolute(),
        setting=setting,
        notes=tuple(note for note in record["notes"] if note.endswith(_LOSSES)),
        remarks=tuple(note for note in record["notes"] if not note.endswith(_LOSSES)),
        split_made=record["split_made"],
        origins=origins,
    )
