"""Which images of a VOC folder train and which validate."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from acmix_exp.config import ConfigError

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
