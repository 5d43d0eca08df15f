"""The splits of a Pascal VOC folder: by lists in ImageSets/Main or elsewhere, by folders, or by a seed.

A list has one image a line: its name, with or without suffix and folders, and maybe a column -1, 0 or 1 behind it.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from acmix_exp.data.images import SUFFIXES
from acmix_exp.data.label_files import folded
from acmix_exp.data.voc_layout import ANNOTATIONS, IMAGES, SPLITS, VocFolder, split_of, spread
from acmix_exp.errors import ConfigError

_LIST = "must be train.txt, val.txt, trainval.txt or test.txt in ImageSets/Main"
_SEED = 0
_VAL_SHARE = 0.2
_SALT = f"acmix_exp-{_SEED}"
_SEEDED = f"seeded split 80/20, seed {_SEED}"
# Folders with lists, in lower case and relative to the VOC folder; the first one that has any is used.
_PLACES = ("imagesets/main", "imagesets", "main", "", "splits", "lists", *ANNOTATIONS)
_SUFFIX = re.compile(rf"\.({'|'.join(SUFFIXES)}|xml|txt)$", re.IGNORECASE)
# What may stand behind a name: -1, 0 or 1; several integers; boxes x1,y1,x2,y2,class.
_COLUMNS = re.compile(r"(\s+[-+]?[01]|(\s+-?\d+){2,}|(\s+[\d.]+(,[\d.]+){4})+)$")
_WITH_ANNOTATION = re.compile(rf"(.*\.({'|'.join(SUFFIXES)}))\s+\S.*\.xml", re.IGNORECASE)


@dataclass
class Splits:
    """Keys of ``VocFolder.pairs`` by split, sorted."""

    names: dict[str, list[str]]
    made: str  # how, in words
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _List:
    file: Path
    lines: list[tuple[int, str]]  # number and text, without blank lines


def split_voc(folder: VocFolder, setting: str) -> Splits:
    """Split the images that have an annotation. Raises ConfigError, OSError.

    Lists named train, val, trainval and test decide, else folders of these names. Where there is no val, it is a fifth
    of train (or of trainval, or of all images), chosen by a hash of the names: the same on every machine. Several
    folders with lists of their own, such as VOC2007 and VOC2012, are split one by one and put together.
    """
    splits = Splits({}, "")
    lists = {part: found for part in ("", *folder.parts) if (found := _find_lists(folder, part, setting, splits.notes))}
    if not lists:
        unused = (file for file in _no_labels(folder) if split_of(file.stem))
        splits.notes += [f"{file}: not used as a list; {_LIST}" for file in unused]
    if used := lists.get(""):
        others = [found.file for part, lists_of in lists.items() if part for found in lists_of.values()]
        splits.notes += [f"{file}: list not used, that of {next(iter(used.values())).file} is" for file in others]
    parts = folder.parts if folder.parts and lists and "" not in lists else [""]
    texts = []
    for part in parts:
        keys = [key for key in folder.pairs if not part or key.startswith(f"{part}/")]
        chosen, text = _split(folder, keys, lists.get(part, {}), part, setting, splits.notes)
        texts.append(f"{part}: {text}" if part else text)
        for name, members in chosen.items():
            splits.names[name] = sorted([*splits.names.get(name, []), *members])
    splits.made = "; ".join(texts)
    splits.names = {name: splits.names[name] for name in ("train", "val", "test") if name in splits.names}
    if len(folder.parts) > 1 and parts == [""]:
        several = ", ".join(folder.parts) if len(folder.parts) <= 4 else f"{len(folder.parts)} folders"
        splits.made = f"{several} together: {splits.made}"
    counts = [len(splits.names.get(name, ())) for name in ("train", "val")]
    if not all(counts):
        fault = f"{counts[0]} images in train and {counts[1]} in val"
        raise ConfigError(f"{setting}: {fault}; must be one each at least")
    return splits


def _split(
    folder: VocFolder, keys: list[str], lists: dict[str, _List], part: str, setting: str, notes: list[str]
) -> tuple[dict[str, list[str]], str]:
    """Keys by split, and in words how they were split."""
    if {"train", "val"} <= set(lists):
        lists = {name: found for name, found in lists.items() if name != "trainval"}
    given, made = _listed(folder, lists, part, setting, notes), []
    if given:
        made.append(f"{'list' if len(given) == 1 else 'lists'} {', '.join(given)}{_place(folder.root / part, lists)}")
    else:
        given, folders = _by_folder(folder, keys, notes)
        made += [f"folders {', '.join(folders)}"] if folders else []
    source = "train" if "train" in given else "trainval" if "trainval" in given else "all other images"
    if not {"train", "trainval"} & set(given):
        given["trainval"] = _without(keys, given.get("test", []))
    if not {"train", "val", "trainval"} & set(lists):
        notes += [f"{path}: annotation without image" for path in folder.annotations.values()]
        notes += [f"{path}: image without annotation" for path in folder.images.values()]
    train, val, trainval = (given.get(name, []) for name in ("train", "val", "trainval"))
    train = train or _without(trainval, val)
    if not val:
        val = _without(trainval, train)
        if not val and (val := _fifth(train)):
            made.append(f"val: {_SEEDED}, of {source}" if made else _SEEDED)
        train = _without(train, val)
    splits = {"train": train, "val": val, "test": given.get("test", [])}
    unlisted = set(keys).difference(*splits.values())
    unused = f" ({len(unlisted):,} images in none of the lists)" if unlisted and lists else ""
    return {name: members for name, members in splits.items() if members}, ", ".join(made) + unused


def _without(keys: list[str], others: list[str]) -> list[str]:
    excluded = set(others)
    return [key for key in keys if key not in excluded]


def _fifth(keys: list[str]) -> list[str]:
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{_SALT}/{key}".encode(errors="surrogateescape")).digest())
    return ranked[: max(1, round(_VAL_SHARE * len(keys)))] if len(keys) > 1 else []


def _by_folder(folder: VocFolder, keys: list[str], notes: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Keys by the split that a folder of both files is named after, and the names of these folders."""
    found: dict[str, list[str]] = {}
    names: dict[str, None] = {}
    others = []
    for key in keys:
        named = next(filter(split_of, folder.pairs[key].folders), None)
        if named is None:
            others.append(key)
        else:
            found.setdefault(split_of(named) or "", []).append(key)
            names[named] = None
    # A folder train beside folders of other names is a class; a folder test alone leaves nothing to train on.
    if set(found) <= ({"train"} if others else {"test"}):
        why = f"images are elsewhere too, such as {folder.pairs[others[0]].image}" if others else "there is no other"
        notes += [f"{folder.root}: folder {name}: not used as a split, as {why}" for name in names]
        return {}, []
    if others and "train" in found:
        notes += [f"{folder.pairs[key].image}: in none of the folders {', '.join(names)}, left out" for key in others]
    elif others:
        found["trainval"] = found.get("trainval", []) + others
    return found, sorted(names, key=lambda name: (list(SPLITS.values()).index(split_of(name) or ""), name))


def _find_lists(folder: VocFolder, part: str, setting: str, notes: list[str]) -> dict[str, _List]:
    """The lists of a part of the folder, by split: those of the first of ``_PLACES`` that has any."""
    root = folder.root / part
    places: dict[str, list[Path]] = {}
    for file in _no_labels(folder):
        if file.suffix.lower() == ".csv":
            continue
        if file.is_relative_to(root):
            places.setdefault(file.parent.relative_to(root).as_posix().lower().removeprefix("."), []).append(file)
        elif not part and root.is_relative_to(file.parent):
            places.setdefault("", []).append(file)
    found: dict[str, _List] = {}
    for place in _PLACES:
        files = [file for file in places.get(place, ()) if split_of(file.stem)]
        files.sort(key=lambda file: file.stem.lower() not in SPLITS)  # train.txt before train2007.txt
        if not files and place.startswith("imagesets") and place in places:
            other = places[place][0]
            notes.append(f"{other}: not used as a list; {_LIST}")
        lists: dict[str, _List] = {}
        for file in files:
            content = _List(file, _lines(file, setting))
            split = split_of(file.stem) or ""
            if used := {**lists, **found}.get(split) or next(iter(found.values()), None):
                notes.append(f"{file}: list not used, that of {used.file} is")
            elif content.lines:
                lists[split] = content
            elif split != "test":
                notes.append(f"{file}: an empty list, not used")
        found = found or lists
    return {split: found[split] for split in ("train", "val", "trainval", "test") if split in found}


def _no_labels(folder: VocFolder) -> list[Path]:
    """The text files without those that have the name of an image beside them: these may be labels in YOLO format."""
    images = [*(pair.image for pair in folder.pairs.values()), *folder.images.values()]
    beside = {(image.parent, image.stem) for image in images}
    return [file for file in folder.texts if (file.parent, file.stem) not in beside]


def _lines(file: Path, setting: str) -> list[tuple[int, str]]:
    data = file.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ConfigError(f"{setting}: {file}: not UTF-8; must be one image name per line, in UTF-8") from None
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _place(root: Path, lists: dict[str, _List]) -> str:
    parent = next(iter(lists.values())).file.parent
    return f" of {parent.relative_to(root).as_posix()}" if parent != root and parent.is_relative_to(root) else ""


def _listed(
    folder: VocFolder, lists: dict[str, _List], part: str, setting: str, notes: list[str]
) -> dict[str, list[str]]:
    """The keys that each list names. Names that cannot be used are noted with the file and the line."""
    names = _Names(folder, part)
    found: dict[str, dict[str, str]] = {}  # split -> key -> file:line: 'text'
    for split, content in lists.items():
        members: dict[str, str] = {}
        for number, text in content.lines:
            place = f"{content.file}:{number}: {text!r}"
            key = names.find(text)
            if key is None:
                notes.append(f"{place} is neither an image nor an annotation of this data set, left out")
            elif key in folder.annotations:
                notes.append(f"{place}: {folder.annotations[key]}: annotation without image, left out")
            elif key in folder.images:
                notes.append(f"{place}: {folder.images[key]}: image without annotation, left out")
            elif key in members:
                notes.append(f"{place} is in this list already, used once")
            else:
                members[key] = place
        if members:
            found[split] = members
        elif split == "test":
            notes.append(f"{content.file}: none of its names has an image and an annotation, test split left out")
        else:
            number, text = content.lines[0]
            fault = f"{content.file}:{number}: {text!r} and all other names have no image with annotation"
            raise ConfigError(f"{setting}: {fault}; must be names of files in {folder.root}")
    for one, other in combinations(found, 2):
        both = [found[other][key] for key in found[other] if key in found[one]]
        if both and {one, other} not in ({"train", "trainval"}, {"val", "trainval"}):
            more = f" (and {len(both) - 1} more names)" if len(both) > 1 else ""
            notes.append(f"{both[0]} is in {lists[one].file} too{more}")
    return {split: list(members) for split, members in found.items()}


class _Names:
    """Finds what a line of a list means: with suffix, folders, columns, or in another case."""

    def __init__(self, folder: VocFolder, part: str) -> None:
        start = f"{part}/" if part else ""
        keys = [key for key in (*folder.annotations, *folder.images, *folder.pairs) if key.startswith(start)]
        self.keys = {key.removeprefix(start): key for key in keys}
        self.loose: dict[str, str | None] = {}  # None: several files have the name
        for name, key in self.keys.items():
            for form in {folded(name), folded(name.rpartition("/")[2])}:
                self.loose[form] = None if form in self.loose else key

    def find(self, text: str) -> str | None:
        for reading in _readings(text):
            parts = spread(tuple(re.split(r"[/\\]", reading)))
            parts = tuple(part for part in parts if part.lower() not in (*IMAGES, *ANNOTATIONS, "."))
            tails = ["/".join(parts[start:]) for start in range(len(parts))]
            # Without the folders before a name: lists are often made on another machine.
            key = next((self.keys[tail] for tail in tails if tail in self.keys), None)
            if key is None and len(parts) == 1:
                key = self.loose.get(folded(parts[0]))
            if key is not None:
                return key
        return None


def _readings(text: str) -> Iterator[str]:
    """What a line may name, most literal first: names may hold spaces and end in a number."""
    annotated = _WITH_ANNOTATION.fullmatch(text)
    for name in (text, text.strip("'\""), _COLUMNS.sub("", text), annotated[1] if annotated else ""):
        yield name
        yield _SUFFIX.sub("", name)
