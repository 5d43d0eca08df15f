"""Data sets in YOLO layout: a data.yaml names the folders of images; those of the labels follow by convention."""

from __future__ import annotations

import glob
import os
import textwrap
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.data.dataset import SPLITS, Dataset
from acmix_exp.data.images import SUFFIXES
from acmix_exp.data.ultralytics_home import datasets_dir
from acmix_exp.errors import ConfigError

_DATA_YAML = "must be a data.yaml with the keys train, val and names"


def label_path(image: Path) -> Path:
    """The label file of an image: the last /images/ of its path replaced by /labels/, suffix .txt."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(str(image).rsplit(images, 1)).rsplit(".", 1)[0] + ".txt")


def read_data_yaml(
    path: Path, *, setting: str | None = None, name: str | None = None, root: Path | None = None
) -> Dataset:
    """Read a data.yaml as ultralytics does, without its side effects.

    A relative ``path:`` is searched for beside the file, then in the working folder, then in ultralytics' datasets
    folder; ``root`` replaces it. A split is a folder, a .txt list, an image, or a list of these. A test split that does
    not exist or has no label at all is left out, with a note. Raises ConfigError that names ``setting``.
    """
    setting = setting or f"dataset.path={path}"
    data = load_yaml(path, setting)
    names = _names(data, setting)
    splits: dict[str, tuple[Path, ...]] = {}
    notes: tuple[str, ...] = ()
    root = (root or _root(data, path.absolute().parent)).resolve()
    for split in SPLITS:
        entry = data.get(split)
        if split == "val" and entry is None:
            entry = data.get("validation")  # ultralytics accepts both
        if not entry:
            if split == "test":
                continue
            raise ConfigError(f"{setting}: no key {split!r}; {_DATA_YAML}")
        try:
            splits[split] = _images(entry, split, root, setting)
        except ConfigError as error:
            if split != "test":
                raise
            notes = (f"{str(error).removeprefix(f'{setting}: ').split(';')[0]}, test split left out",)
    if "test" in splits and not any(label_path(image).is_file() for image in splits["test"]):
        # Data sets whose test labels are secret still list the images; nothing can be scored on them.
        del splits["test"]
        notes = ("test has images but no labels, test split left out",)
    return Dataset(
        name=name or (path.stem if path.stem not in ("data", "dataset") else path.absolute().parent.name),
        names=names,
        splits=splits,
        source=path.absolute(),
        setting=setting,
        pose_values=_pose_values(data, setting),
        notes=notes,
    )


def as_list(entry: Any) -> list[Any]:
    """The parts of a split's entry in a data.yaml."""
    return entry if isinstance(entry, list) else [entry]


def load_yaml(path: Path, setting: str) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError if there is none."""
    if path.is_dir():
        files = sorted(path.glob("*.yaml")) or sorted(path.glob("*.yml"))
        raise ConfigError(f"{setting}: a folder; must be {f'dataset.path={files[0]}' if files else 'a data.yaml'}")
    if not path.exists():
        raise ConfigError(f"{setting}: no such file; {_DATA_YAML}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig", errors="strict"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"{setting}: not YAML: {path}{line}: {problem}; {_DATA_YAML}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting}: cannot be read: {error}; {_DATA_YAML}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{setting}: holds no keys; {_DATA_YAML}")
    return data


def _names(data: dict[str, Any], setting: str) -> dict[int, str]:
    names = data.get("names")
    form = "must be a list of class names, or a mapping of 0, 1, 2, ... to names"
    if not names:
        raise ConfigError(f"{setting}: no key 'names'; {form}")
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        names = {int(index): str(name) for index, name in names.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(f"{setting}: names cannot be used; {form}") from None
    if sorted(names) != list(range(len(names))):
        indices = textwrap.shorten(", ".join(map(str, sorted(names))), 40, placeholder=" ...")
        raise ConfigError(f"{setting}: names has classes {indices}; must be 0 to {len(names) - 1}")
    count = data.get("nc")
    if count is not None and str(count) not in (str(len(names)), f"{len(names)}.0"):
        raise ConfigError(f"{setting}: nc is {count} and names has {len(names)} classes; must be the same number")
    return {index: names[index] for index in sorted(names)}


def _pose_values(data: dict[str, Any], setting: str) -> int:
    shape = data.get("kpt_shape")
    if shape is None:
        return 0
    try:
        points, values = shape
        return int(points) * int(values)
    except (TypeError, ValueError):
        raise ConfigError(f"{setting}: kpt_shape is {shape}; must be [points, values per point]") from None


def _root(data: dict[str, Any], beside: Path) -> Path:
    """The folder that the splits are relative to: the first candidate that has them."""
    given = Path(str(data.get("path") or ".")).expanduser()
    candidates = [beside / given, Path.cwd() / given, datasets_dir() / given, beside]
    first = next(iter(as_list(data.get("train"))), None)
    for candidate in candidates:
        if isinstance(first, str) and _located(candidate, first).exists():
            return candidate
    return next((folder for folder in candidates if folder.exists()), beside)


def _located(root: Path, entry: str) -> Path:
    path = (root / Path(entry).expanduser()).resolve()
    if not path.exists() and entry.startswith("../"):
        # Exports of annotation tools write ../train/images for a folder beside the yaml.
        inside = (root / entry[3:]).resolve()
        return inside if inside.exists() else path
    return path


def _images(entry: Any, split: str, root: Path, setting: str) -> tuple[Path, ...]:
    files: list[str] = []
    for part in as_list(entry):
        if not isinstance(part, str):
            raise ConfigError(f"{setting}: {split} is {part!r}; must be a path or a list of paths")
        path = _located(root, part)
        if path.is_dir():
            files += glob.glob(str(Path(glob.escape(str(path))) / "**" / "*.*"), recursive=True)
        elif path.suffix.lower().lstrip(".") in SUFFIXES:
            files.append(str(path))
        elif path.is_file():
            files += _listed(path, root, setting)
        else:
            raise ConfigError(f"{setting}: {split} does not exist: {path}; must be a folder or a .txt list of images")
    images = tuple(Path(image) for image in sorted(files) if image.rpartition(".")[2].lower() in SUFFIXES)
    if not images:
        paths = ", ".join(str(_located(root, part)) for part in as_list(entry))
        raise ConfigError(f"{setting}: no images in {split}: {paths}; must be a folder or a .txt list of images")
    return images


def _listed(file: Path, root: Path, setting: str) -> list[str]:
    """The images of a .txt list, one per line: absolute, or relative to list, data set or working folder."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting}: {file} cannot be read: {error}; must be one image path per line") from None
    images = []
    base: Path | None = None  # searched for once: a list may have a hundred thousand lines and has one convention
    for line in filter(None, map(str.strip, lines)):
        if os.path.isabs(line):
            images.append(line)
            continue
        if base is None or not (base / line).exists():
            base = next((b for b in (file.parent, root, Path.cwd()) if (b / line).exists()), file.parent)
        images.append(os.path.normpath(base / line))
    return images
