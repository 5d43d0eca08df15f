"""Data sets with a folder of images for each class, as ultralytics takes them for ``model.task=classify``.

``FOLDER/train/CLASS/IMAGE`` and ``FOLDER/val/CLASS/IMAGE``, and ``test`` if there is one; images may be deeper. The
classes are the folders of train, by name. For a neighbour: :func:`read_class_folders` makes the Dataset,
:func:`class_indices` says the class of each image.
"""

from __future__ import annotations

import os
from pathlib import Path

from acmix_exp.data.class_names import similar_names
from acmix_exp.data.dataset import SPLITS, Dataset
from acmix_exp.data.images import SUFFIXES
from acmix_exp.data.split_images import image_files
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import CLASSIFY

WRITTEN_AS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}  # as in ultralytics
RIGHT = "must be a folder with train/CLASS/IMAGE and val/CLASS/IMAGE"
OF_BOXES = {"images", "labels"}  # folders of a split of boxes
SHOWN = 5  # names in a message


def read_class_folders(path: Path, *, setting: str | None = None, name: str | None = None) -> Dataset:
    """The data set in a folder. Raises ConfigError that names ``setting``, by default ``dataset.path``."""
    setting = setting or f"dataset.path={path}"
    root = path.absolute()
    if fault := _no_folder(path):
        raise ConfigError(f"{setting}: {fault}; with model.task=classify it {RIGHT}")
    folders = {split: found for split in SPLITS if (found := _split_folder(root, split))}
    for split in ("train", "val"):
        if split not in folders:
            raise ConfigError(f"{setting}: {_without(split, root)}; {RIGHT}")
    names = dict(enumerate(_classes(folders["train"], setting)))
    if len(names) < 2:
        raise ConfigError(f"{setting}: has one class, {names[0]}; must have at least two, each a folder in train")
    remarks: list[str] = [*similar_names(names), *(f"{each}: not used" for each in _hidden(folders["train"]))]
    splits: dict[str, tuple[Path, ...]] = {}
    for split, folder in folders.items():
        classes = set(_classes(folder, setting))
        if classes != set(names.values()):
            raise ConfigError(f"{setting}: {_other_classes(split, classes, set(names.values()))}")
        images: list[str] = []
        for each in names.values():
            of_class = sorted(image_files(folder / each, setting, remarks))
            if not of_class:
                raise ConfigError(f"{setting}: no images in {folder / each}; must have one at least, or be removed")
            images += of_class
        splits[split] = tuple(map(Path, images))
    return Dataset(
        name=name or root.name,
        names=names,
        splits=splits,
        source=root,
        setting=setting,
        task=CLASSIFY,
        remarks=tuple(remarks),
        read={split: (folder,) for split, folder in folders.items()},
    )


def class_indices(dataset: Dataset, split: str) -> list[int]:
    """The class of each image of a split of such a data set."""
    (folder,) = dataset.read[split]
    start, numbers = len(folder.parts), {name: index for index, name in dataset.names.items()}
    return [numbers[image.parts[start]] for image in dataset.splits[split]]


def has_class_folders(path: Path) -> bool:
    """Whether a folder looks like such a data set."""
    train = path / "train"
    try:
        folders = _folders(train)
        return bool(folders) and not OF_BOXES & set(folders) and any(_has_image(train / name) for name in folders)
    except OSError:
        return False


def _has_image(folder: Path) -> bool:
    return any(name.rpartition(".")[2].lower() in SUFFIXES for name in os.listdir(folder))


def _no_folder(path: Path) -> str:
    """Why a path is no folder; empty if it is one."""
    if path.is_dir():
        return ""
    if not path.exists():
        return "no such folder"
    if path.suffix.lower() in (".yaml", ".yml"):
        return "a data.yaml, as labels of boxes, polygons and keypoints have"
    return "a file"


def _split_folder(root: Path, split: str) -> Path | None:
    return next((root / name for name in WRITTEN_AS[split] if (root / name).is_dir()), None)


def _without(split: str, root: Path) -> str:
    if files := sorted(root.glob("*.yaml")):
        return f"has no folder {split}, but {files[0].name}, as a data set of boxes has"
    names = _folders(root)
    if names and all(_has_image(root / name) for name in names):
        how = "ultralytics.data.split.split_classify_dataset makes them"
        return f"has class folders ({_listed(names)}) and no splits, {how}"
    return f"has no folder {split}"


def _classes(folder: Path, setting: str) -> list[str]:
    """The class folders of a split, sorted."""
    try:
        names = _folders(folder)
    except OSError as error:
        raise ConfigError(f"{setting}: {folder}: {error.strerror}; must be a readable folder") from None
    if set(names) == OF_BOXES:
        raise ConfigError(f"{setting}: {folder} has images and labels, as a data set of boxes has; {RIGHT}")
    if not names:
        raise ConfigError(f"{setting}: no class folders in {folder}; {RIGHT}")
    return names


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _hidden(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name.startswith("."))


def _other_classes(split: str, classes: set[str], right: set[str]) -> str:
    """What the classes of a split have more or less than those of train."""
    more, fewer = sorted(classes - right), sorted(right - classes)
    parts = [f"{split} has {_listed(more)}, which train does not have"] if more else []
    parts += [f"{split} does not have {_listed(fewer)}, which train has"] if fewer else []
    return f"{' and '.join(parts)}; must have the same class folders in every split"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
