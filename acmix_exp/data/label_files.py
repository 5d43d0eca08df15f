"""Find the label file of each image: where ultralytics looks for it, or where else people put it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from acmix_exp.data.images import SUFFIXES

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
_LABEL_FOLDERS = ("labels", "label")
_OTHER_ANNOTATIONS = (".xml", ".json")
# Text files that annotation tools and exports leave among label files.
_NO_LABELS = ("classes", "predefined_classes", "train", "val", "valid", "test", "license", "readme", "readme.roboflow")


def label_path(image: Path) -> Path:
    """Where ultralytics looks for the label file: the last /images/ of the path becomes /labels/, the suffix .txt."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(str(image).rsplit(images, 1)).rsplit(".", 1)[0] + ".txt")


class LabelFiles:
    """The label files of the images of a data set. Folders are listed once, when an image of theirs is asked for.

    A label file is looked for in the folder of :func:`label_path`, beside the image, in a labels folder of another case
    or beside or inside the image folder; there as ``STEM.txt`` in any case, or as ``a.jpg.txt``.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, _Folder] = {}
        self._places: dict[Path, list[_Folder]] = {}

    def find(self, image: Path) -> Path | None:
        """The label file; None if the image has none."""
        for folder in self._candidates(image.parent):
            if name := folder.label_of(image, self._folder(image.parent)):
                return folder.path / name
        return None

    def other_annotation(self, image: Path) -> Path | None:
        """An annotation of the image in a format that is not YOLO's."""
        for folder in self._candidates(image.parent):
            for suffix in _OTHER_ANNOTATIONS:
                if f"{image.stem}{suffix}" in folder.names:
                    return folder.path / f"{image.stem}{suffix}"
        return None

    def unused(self, images: Iterable[Path]) -> list[str]:
        """Text files with the name of an image that has another label file of other content, one line each."""
        lines = []
        for image in images:
            used = self.find(image)
            if used is None:
                continue
            for folder in self._candidates(image.parent):
                names = [name for stem in (image.stem, image.name) for name in folder.same_stem.get(stem, ())]
                others = (folder.path / name for name in names if folder.path / name != used)
                text = f"not used, the labels of {image.name} are {used}"
                lines += [f"{other}: {text}" for other in others if _differ(other, used)]
        return lines

    def orphans(self, images: Iterable[Path]) -> list[str]:
        """Label files in the labels folders of ``images`` that belong to no image, one line each.

        A list may use only some images of a folder: the others' labels are no orphans.
        """
        stems: dict[Path, set[str]] = {}
        used = set()
        for image in images:
            stems.setdefault(image.parent, set()).add(image.stem)
            used.add(self.find(image))
        lines = []
        for parent in sorted(stems):
            folder = self._folder(label_path(parent / "image.jpg").parent)
            if folder.path == parent:
                continue  # beside images any text file is possible
            known = stems[parent] | self._folder(parent).image_stems
            lines += [
                f"{folder.path / name}: label without image"
                for stem, name in sorted(folder.texts.items())
                if stem not in known and stem.lower() not in _NO_LABELS and folder.path / name not in used
            ]
        return lines

    def _candidates(self, parent: Path) -> list[_Folder]:
        if parent not in self._places:
            places = [label_path(parent / "image.jpg").parent, parent, *self._beside(parent)]
            self._places[parent] = [self._folder(place) for place in dict.fromkeys(places)]
        return self._places[parent]

    def _beside(self, parent: Path) -> list[Path]:
        """Labels folders of other names: for x/Images/train x/Labels/train, and a labels folder inside the images'."""
        places = []
        parts = parent.parts
        for index in range(len(parts) - 1, 0, -1):
            if parts[index].lower() in _IMAGE_FOLDERS:
                above, below = Path(*parts[:index]), parts[index + 1 :]
                places += [above.joinpath(name, *below) for name in self._folder(above).label_folders]
                break
        return [*places, *(parent / name for name in self._folder(parent).label_folders)]

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            self._folders[path] = _Folder(path)
        return self._folders[path]


class _Folder:
    """The names in a folder; none if it does not exist or cannot be listed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.names = {name for name in os.listdir(path) if not name.startswith(".")}
        except OSError:
            self.names = set()

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text files by stem, those with the suffix .txt before those with .TXT."""
        names = sorted(name for name in self.names if name.lower().endswith(".txt"))
        return {name[:-4]: name for name in names}

    @cached_property
    def same_stem(self) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name in sorted(self.names):
            if name.lower().endswith(".txt"):
                groups.setdefault(name[:-4], []).append(name)
        return groups

    @cached_property
    def folded_texts(self) -> dict[str, str]:
        return {folded(stem): stem for stem in self.texts}

    @cached_property
    def image_stems(self) -> set[str]:
        return {name.rpartition(".")[0] for name in self.names if name.rpartition(".")[2].lower() in SUFFIXES}

    @cached_property
    def label_folders(self) -> list[str]:
        return sorted(name for name in self.names if name.lower() in _LABEL_FOLDERS)

    def label_of(self, image: Path, images: _Folder) -> str | None:
        """The name of the image's label file in this folder."""
        for stem in (image.stem, image.name):
            if stem in self.texts:
                return self.texts[stem]
        stem = self.folded_texts.get(folded(image.stem), "")
        return self.texts[stem] if stem and stem not in images.image_stems else None


def _differ(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() != other.read_bytes()
    except OSError:
        return True


def folded(stem: str) -> str:
    """Equal for names that differ in case or, as after a copy from a Mac, in how accents are encoded."""
    return unicodedata.normalize("NFC", stem).casefold()
