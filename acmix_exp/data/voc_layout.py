"""The files of a Pascal VOC folder, however its folders are called: which image belongs to which annotation.

The key of a file is its path without suffix and without the folders that only say what they hold (``Annotations``,
``images``): ``train/images/a.jpg`` and ``train/Annotations/a.xml`` both have the key ``train/a``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from acmix_exp.data.images import SUFFIXES
from acmix_exp.data.label_files import folded
from acmix_exp.errors import ConfigError, setting

# Names of folders, in lower case; the first ones are preferred where two files have the same key.
IMAGES = ("jpegimages", "images", "image", "imgs", "img", "jpegs", "jpgs", "jpg")
ANNOTATIONS = ("annotations", "annotation", "annots", "annot", "anns", "xmls", "xml", "labels", "label", "bboxes")
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "trainval": "trainval",
    "test": "test",
    "testing": "test",
}
FOLDER = "must be a folder with Annotations/*.xml and JPEGImages (or images)"
# A folder or list of a split: train, Train Set, val2017, 2007_test, test_list.
_SPLIT = re.compile(
    rf"(?:\d+[\W_]+)?({'|'.join(SPLITS)})[\W_]*(?:set|data|split|lists?|images?|files?|names?)?[\W_]*\d*"
)
_MASKS = ("segmentationclass", "segmentationobject")  # images of VOC that are no photos

Parts = tuple[str, ...]  # a path relative to the folder, split at the slashes


@dataclass(frozen=True)
class Pair:
    """An image with its annotation."""

    image: Path
    annotation: Path
    folders: Parts  # of both files, those that say what split they belong to among them


@dataclass
class VocFolder:
    """The files of a VOC folder. Keys are joined with slashes and relative to ``root``."""

    root: Path  # the innermost folder that holds all of them
    pairs: dict[str, Pair] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)  # those without annotation
    annotations: dict[str, Path] = field(default_factory=dict)  # those without image
    texts: list[Path] = field(default_factory=list)  # .txt files, in which the lists are, and .csv files
    parts: list[str] = field(default_factory=list)  # folders below root with a VOC folder each, such as VOC2007
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    path: Path
    parts: Parts

    @property
    def stem(self) -> str:
        return self.parts[-1].rpartition(".")[0] or self.parts[-1]

    @property
    def folders(self) -> Parts:
        return self.parts[:-1]

    @property
    def prefix(self) -> Parts:
        """The folders before the first one that says what it holds."""
        named = (index for index, part in enumerate(self.folders) if part.lower() in (*IMAGES, *ANNOTATIONS))
        return self.parts[: next(named, len(self.folders))]

    @property
    def key(self) -> Parts:
        folders = (part for part in self.folders if part.lower() not in (*IMAGES, *ANNOTATIONS))
        return (*folders, self.stem)

    def within(self, names: tuple[str, ...]) -> bool:
        return any(part.lower() in names for part in self.folders)


def split_of(name: str) -> str | None:
    """train, val, trainval or test, if a folder or a list is named after it; else None."""
    found = _SPLIT.fullmatch(name.lower())
    return SPLITS[found[1]] if found else None


def spread(parts: Parts) -> Parts:
    """Parts of a path, where a folder that says two things is two: ``train_images`` is ``train``, ``images``."""
    return tuple(word for part in parts for word in _two_words(part))


def _two_words(part: str) -> Parts:
    words = tuple(re.split(r"[\W_]+", part))
    if len(words) != 2 or not any(map(split_of, words)):
        return (part,)
    return words if any(word.lower() in (*IMAGES, *ANNOTATIONS) for word in words) else (part,)


def find_voc(path: Path, setting: str, skip: Path) -> VocFolder:
    """Find images and annotations below ``path`` and match them; nothing below ``skip`` is looked at.

    Sub-folders, links to folders, and the names of ``IMAGES`` and ``ANNOTATIONS`` in any case are all read. Files and
    folders whose name starts with a dot are not. Raises ConfigError, OSError.
    """
    if not path.is_dir():
        raise ConfigError(f"{setting}: {'a file' if path.exists() else 'no such folder'}; {FOLDER}")
    images, annotations, texts = _collect(path.absolute(), skip)
    notes: list[str] = []
    annotations = _chosen_annotations(annotations, images, notes)
    images = _chosen_images(images, annotations, notes)
    if not annotations or not images:
        raise ConfigError(f"{setting}: {_missing(path, bool(annotations))}; {FOLDER}")
    roots = sorted({_before_split(file.prefix) for file in annotations})
    common = roots[0]
    while not all(root[: len(common)] == common for root in roots):
        common = common[:-1]
    root = path.absolute().joinpath(*common)
    folder = VocFolder(root, texts=[file.path for file in texts], notes=notes)
    folder.parts = ["/".join(root[len(common) :]) for root in roots if root != common]
    _match(folder, images, annotations, common)
    if not folder.pairs:
        examples = f"{annotations[0].path} and {images[0].path}"
        raise ConfigError(f"{setting}: no image has the name of an annotation, such as {examples}; {FOLDER}")
    return folder


def _collect(root: Path, skip: Path) -> tuple[list[_File], list[_File], list[_File]]:
    """Images, annotations and text files, sorted by path."""
    found: tuple[list[_File], list[_File], list[_File]] = ([], [], [])
    images, annotations, texts = found
    for path in _walk(root, skip):
        *folders, name = path.relative_to(root).parts
        file = _File(path, (*spread(tuple(folders)), name))
        suffix = path.name.rpartition(".")[2].lower() if "." in path.name else ""
        if suffix in SUFFIXES:
            images.append(file)
        elif suffix == "xml" or (not suffix and file.within(ANNOTATIONS) and _starts_as_xml(path)):
            annotations.append(file)
        elif suffix in ("txt", "csv"):
            texts.append(file)
    for files in found:
        files.sort(key=lambda file: file.parts)
    return found


def _walk(root: Path, skip: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    seen = {os.path.realpath(skip)}
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=fail):
        real = os.path.realpath(folder)
        if real in seen:  # a link back, or a second one
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _starts_as_xml(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


def _chosen_annotations(files: list[_File], images: list[_File], notes: list[str]) -> list[_File]:
    """The .xml files in folders of a known name or beside an image of their name; all of them if there are none."""
    beside = {(image.folders, image.stem) for image in images}
    chosen = [file for file in files if file.within((*ANNOTATIONS, *IMAGES)) or (file.folders, file.stem) in beside]
    return _noted(files, chosen, "annotations", notes) if chosen else files


def _chosen_images(files: list[_File], annotations: list[_File], notes: list[str]) -> list[_File]:
    """The images in folders of a known name, near the annotations where possible, or beside annotations; all of them
    if there are none.
    """
    files = [file for file in files if not any(part.lower() in _MASKS for part in file.folders)]
    beside = {file.folders for file in annotations}
    named = [file for file in files if file.within(IMAGES) or file.folders in beside]
    prefixes = {_before_split(file.prefix) for file in annotations}
    near = [file for file in named if _before_split(file.prefix) in prefixes]
    return _noted(files, near or named, "images", notes) if named else files


def _noted(files: list[_File], chosen: list[_File], what: str, notes: list[str]) -> list[_File]:
    counts = Counter(file.path.parent for file in set(files) - set(chosen))
    notes += [f"{folder}: {count} {what} in this folder not used" for folder, count in sorted(counts.items())]
    return chosen


def _before_split(prefix: Parts) -> Parts:
    named = (index for index, part in enumerate(prefix) if split_of(part))
    return prefix[: next(named, len(prefix))]


def _missing(path: Path, annotated: bool) -> str:
    if annotated:
        fault = "no images in JPEGImages or images"
    elif any(entry.name.lower() in ANNOTATIONS for entry in path.iterdir()) and not any(path.glob("*.y*ml")):
        fault = "no .xml file in Annotations"
    elif yolo := next(iter(sorted(path.glob("*.y*ml"))), None):
        fault = f"no folder Annotations, though dataset=yolo dataset.path={yolo} may be meant"
    else:
        fault = "no folder Annotations"
    inner = path.absolute().name.lower() in (*ANNOTATIONS, *IMAGES)
    return f"{fault}, though {setting('dataset.path', path.parent)} may be meant" if inner else fault


def _match(folder: VocFolder, images: list[_File], annotations: list[_File], common: Parts) -> None:
    """Match by key, then by key without regard to case and encoding of accents, then by name where one file has it."""

    def key(file: _File) -> Parts:
        return file.key[len(common) :] if file.key[: len(common)] == common else file.key

    def loose(file: _File) -> Parts:
        return tuple(folded(_bare(part)) for part in key(file))

    images = _one_per_key(images, key, IMAGES, folder.notes)
    annotations = _one_per_key(annotations, key, ANNOTATIONS, folder.notes)
    forms: tuple[Callable[[_File], Parts], ...] = (key, loose, lambda file: loose(file)[-1:])
    for form in forms:
        by_form = _grouped(annotations, form)
        matched = set()
        for name, (image, *others) in _grouped(images, form).items():
            annotation, *more = by_form.get(name, [image])
            if annotation is image or others or more or not _compatible(loose(image), loose(annotation)):
                continue
            folder.pairs["/".join(key(image))] = Pair(image.path, annotation.path, image.folders + annotation.folders)
            matched |= {image, annotation}
        images = [file for file in images if file not in matched]
        annotations = [file for file in annotations if file not in matched]
    folder.images = {"/".join(key(file)): file.path for file in images}
    folder.annotations = {"/".join(key(file)): file.path for file in annotations}


def _bare(name: str) -> str:
    """A name without the suffix of an image: some tools write a.jpg.xml."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem and suffix.lower() in SUFFIXES else name


def _compatible(one: Parts, other: Parts) -> bool:
    """Whether files of the same name can belong together: cat/1 and dog/1 do not, 1 and train/1 do."""
    folders = set(one[:-1]), set(other[:-1])
    return folders[0] <= folders[1] or folders[1] <= folders[0]


def _grouped(files: list[_File], form: Callable[[_File], Parts]) -> dict[Parts, list[_File]]:
    groups: dict[Parts, list[_File]] = {}
    for file in files:
        groups.setdefault(form(file), []).append(file)
    return groups


def _one_per_key(
    files: list[_File], key: Callable[[_File], Parts], order: tuple[str, ...], notes: list[str]
) -> list[_File]:
    def rank(file: _File) -> int:
        return min((order.index(part.lower()) for part in file.folders if part.lower() in order), default=len(order))

    chosen = []
    for group in _grouped(files, key).values():
        *others, used = sorted(group, key=lambda file: (-rank(file), file.parts))
        notes += [f"{file.path}: not used, {used.path} has the same name" for file in others]
        chosen.append(used)
    return chosen
