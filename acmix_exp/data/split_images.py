"""The images of one split of a data.yaml: of a folder, a .txt list, a single image, or a list of these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acmix_exp.data.images import OTHER_IMAGES, SUFFIXES
from acmix_exp.data.label_files import LabelFiles
from acmix_exp.errors import ConfigError
from acmix_exp.files import user_path

_MOST_PLACES = 3


@dataclass
class SplitImages:
    """The images of a split as absolute paths, sorted, each once; the folders and lists they come from; remarks."""

    images: tuple[Path, ...] = ()
    read: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def as_list(entry: Any) -> list[Any]:
    """The parts of a split's entry in a data.yaml."""
    return entry if isinstance(entry, list) else [entry]


def split_images(entry: Any, split: str, root: Path, setting: str) -> SplitImages:
    """Find the images of ``entry``, whose paths are relative to ``root``. Raises ConfigError that names ``setting``."""
    found = SplitImages()
    files: list[str] = []
    for part in as_list(entry):
        if not isinstance(part, str):
            raise ConfigError(f"{setting}: {split} is {part!r}; must be a path or a list of paths")
        path = located(root, part)
        found.read.append(path)
        if part.startswith("../") and (inside := root / part[3:]).exists() and not inside.samefile(path):
            found.remarks.append(f"{split}: {part} is {path}, not {inside}, which exists too")
        count = len(files)
        if path.is_dir():
            files += _in_folder(path, root, part, setting, found.remarks)
        elif path.is_file() and path.suffix.lower().lstrip(".") in SUFFIXES:
            files.append(str(path))
        elif path.is_file():
            files += _listed(path, root, setting, found.remarks)
        else:
            raise ConfigError(f"{setting}: {split} does not exist: {path}; must be a folder or a .txt list of images")
        if len(files) == count and isinstance(entry, list):
            found.remarks.append(f"{path}: no images in this part of {split}")
    found.images = tuple(map(Path, sorted(set(files))))
    if not found.images:
        paths = ", ".join(map(str, found.read))
        why = "".join(f" ({remark})" for remark in found.remarks[:1] if path.is_file())
        raise ConfigError(f"{setting}: no images in {split}: {paths}{why}; must be a folder or a .txt list of images")
    if repeated := len(files) - len(found.images):
        twice = next(name for name, other in zip(sorted(files), sorted(files)[1:], strict=False) if name == other)
        found.remarks.append(f"{split}: {repeated} images are named again, counted once; the first is {twice}")
    return found


def located(root: Path, entry: str) -> Path:
    """The path of a split as ultralytics finds it: links are followed."""
    path = (root / user_path(entry)).resolve()
    if not path.exists() and "\\" in entry:
        path = (root / entry.replace("\\", "/")).resolve()
    if not path.exists() and entry.startswith("../"):
        # Exports of annotation tools write ../train/images for a folder beside the yaml.
        inside = (root / entry[3:]).resolve()
        return inside if inside.exists() else path
    return path


def _in_folder(path: Path, root: Path, part: str, setting: str, remarks: list[str]) -> list[str]:
    """The images below a folder. Of a linked folder, below the link where only there the labels are found."""
    resolved = sorted(image_files(path, setting, remarks))
    link = Path(os.path.normpath(root / user_path(part)))
    if link == path or not link.is_dir() or not link.samefile(path):
        return resolved
    linked = [os.path.join(link, os.path.relpath(image, path)) for image in resolved]
    labels = LabelFiles()
    labelled = [sum(labels.find(Path(image)) is not None for image in images) for images in (resolved, linked)]
    return linked if labelled[1] > labelled[0] else resolved


def image_files(path: Path, setting: str, remarks: list[str]) -> Iterator[str]:
    """Image files below a folder, through links; hidden names are left out, as ultralytics does."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{setting}: {error.filename}: {error.strerror}; must be a readable folder")

    root = os.path.realpath(path)
    seen = {root}
    for folder, folders, names in os.walk(path, followlinks=True, onerror=refuse):
        for name in list(folders):
            inner = os.path.join(folder, name)
            real = os.path.realpath(inner)
            above = os.path.realpath(folder).startswith(f"{real}{os.sep}")
            if name.startswith("."):
                folders.remove(name)
            elif real in seen or (os.path.islink(inner) and (above or real.startswith(f"{root}{os.sep}"))):
                folders.remove(name)
                remarks.append(f"{inner}: a link to {real}, which is read already, left out")
            seen.add(real)
        for name in names:
            suffix = name.rpartition(".")[2].lower() if "." in name[1:] and not name.startswith(".") else ""
            if suffix in SUFFIXES:
                yield os.path.join(folder, name)
            elif suffix in OTHER_IMAGES:
                remarks.append(f"{os.path.join(folder, name)}: training reads no .{suffix} files, image left out")


def _listed(file: Path, root: Path, setting: str, remarks: list[str]) -> list[str]:
    """The images of a .txt list, one per line: absolute, or relative to list, data set or working folder."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting}: {file} cannot be read: {error}; must be one image path per line") from None
    images, missing, others = [], [], []
    base: str | Path = file.parent  # a list may have a hundred thousand lines and has one convention
    for number, text in enumerate(map(str.strip, lines), 1):
        line = text[1:-1] if text[:1] in ("'", '"') and text[-1:] == text[:1] else text
        if line.rpartition(".")[2].lower() not in SUFFIXES or "\0" in line:
            others += [f"{file}:{number}: {line!r}"] if line else []
            continue
        image = os.path.normpath(os.path.join(base, line))
        if not os.path.exists(image):
            found = [
                (other, path)
                for form in dict.fromkeys((line, line.replace("\\", "/")))
                for other in (file.parent, root, Path.cwd())
                if os.path.exists(path := os.path.normpath(os.path.join(other, form)))
            ]
            if found:
                base, image = found[0]
            else:
                missing.append(f"{file}:{number}: no such file: {line}")
        images.append(image)
    if missing and len(missing) == len(images):
        right = "must be paths on this machine, absolute or relative to the list or to the data set"
        raise ConfigError(f"{setting}: none of the {len(images)} images of a list exists: {missing[0]}; {right}")
    for what, places in (("images do not exist, left out", missing), ("lines are no image path, left out", others)):
        if places:
            more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
            remarks.append(f"{len(places)} {what}: {', '.join(places[:_MOST_PLACES])}{more}")
    return images
