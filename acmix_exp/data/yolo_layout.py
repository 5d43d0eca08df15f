"""Data sets in YOLO layout: a data.yaml names the folders of images; those of the labels follow by convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from acmix_exp.data.class_names import NamesError, class_names, is_null, similar_names
from acmix_exp.data.dataset import SPLITS, Dataset
from acmix_exp.data.label_files import LabelFiles
from acmix_exp.data.split_images import SplitImages, as_list, located, split_images
from acmix_exp.data.ultralytics_home import datasets_dir
from acmix_exp.errors import ConfigError

_DATA_YAML = "must be a data.yaml with the keys train, val and names"
CONVERT_COCO = "COCO JSON: convert it with ultralytics.data.converter.convert_coco and write a data.yaml"
_OTHER_FILES = {
    ".zip": "an archive: unpack it",
    ".tar": "an archive: unpack it",
    ".gz": "an archive: unpack it",
    ".rar": "an archive: unpack it",
    ".7z": "an archive: unpack it",
    ".json": CONVERT_COCO,
    ".ndjson": "NDJSON: ultralytics.data.converter.convert_ndjson_to_yolo writes its data.yaml",
    ".xml": "a VOC annotation: dataset=voc_xml dataset.path=FOLDER reads its folder",
    ".pt": "a checkpoint: its key is model.pretrained",
}


def read_data_yaml(
    path: Path, *, setting: str | None = None, name: str | None = None, root: Path | None = None
) -> Dataset:
    """Read a data.yaml as ultralytics does, without its side effects.

    A relative ``path:`` is searched for beside the file, then in the working folder, then in ultralytics' datasets
    folder; ``root`` replaces it. A split is a folder, a .txt list, an image, or a list of these. A test split that does
    not exist or has no label at all is left out, with a note. Raises ConfigError that names ``setting``.
    """
    setting = setting or f"dataset.path={path}"
    data, written_names = load_yaml(path, setting)
    try:
        names = class_names(written_names, data.get("nc"))
    except NamesError as error:
        raise ConfigError(f"{setting}: {error}") from None
    found: dict[str, SplitImages] = {}
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
            found[split] = split_images(entry, split, root, setting)
        except ConfigError as error:
            if split != "test":
                raise
            notes = (f"{str(error).removeprefix(f'{setting}: ').split(';')[0]}, test split left out",)
    labels = LabelFiles()
    if "test" in found and not any(map(labels.find, found["test"].images)):
        # Data sets whose test labels are secret still list the images; nothing can be scored on them.
        del found["test"]
        notes = ("test has images but no labels, test split left out",)
    remarks = [remark for split in found.values() for remark in split.remarks]
    return Dataset(
        name=name or (path.stem if path.stem not in ("data", "dataset") else path.absolute().parent.name),
        names=names,
        splits={split: images.images for split, images in found.items()},
        source=path.absolute(),
        setting=setting,
        pose_values=_pose_values(data, setting),
        notes=notes,
        read={split: tuple(images.read) for split, images in found.items()},
        remarks=(*_remarks(data, names, written_names), *remarks),
    )


def _remarks(data: dict[str, Any], names: dict[int, str], written: yaml.Node | None) -> list[str]:
    remarks = similar_names(names)
    if is_null(written):
        remarks.append(f"data.yaml has no names: the classes are called {names[0]} to {names[len(names) - 1]}")
    if data.get("channels", 3) != 3:
        remarks.append(f"channels: {data['channels']} is not used: images are read in colour, with 3 channels")
    return remarks


def load_yaml(path: Path, setting: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The mapping in a YAML file, and apart from it the node of its class names. Raises ConfigError."""
    if path.is_dir():
        files = sorted(path.glob("*.yaml")) or sorted(path.glob("*.yml"))
        right = f"must be dataset.path={files[0]}" if files else _right_for(path)
        raise ConfigError(f"{setting}: a folder; {right}")
    if not path.exists():
        raise ConfigError(f"{setting}: no such file; {_DATA_YAML}")
    if kind := _OTHER_FILES.get(path.suffix.lower()):
        raise ConfigError(f"{setting}: {kind}; {_DATA_YAML}")
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8-sig", errors="strict"))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{setting}: holds no keys; {_DATA_YAML}")
        nodes = _each_once(root, f"{setting}: {path}")
        names = nodes.get("names")
        root.value = [(key, value) for key, value in root.value if value is not names]
        return loader.construct_document(root), names
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"{setting}: not YAML: {path}{line}: {problem}; {_DATA_YAML}") from None
    except (OSError, ValueError) as error:  # UnicodeDecodeError, and a date such as 2024-13-01
        raise ConfigError(f"{setting}: cannot be read: {error}; {_DATA_YAML}") from None


def _each_once(root: yaml.MappingNode, place: str) -> dict[str, yaml.Node]:
    """The values by key. YAML would take the last of a key that is there twice; here it is a ConfigError."""
    nodes: dict[str, yaml.Node] = {}
    for key, value in root.value:
        name = str(key.value)
        if name in nodes:
            first = nodes[name].start_mark.line + 1
            raise ConfigError(f"{place}:{key.start_mark.line + 1}: {name} is in line {first} too; must be there once")
        nodes[name] = value
    return nodes


def _right_for(folder: Path) -> str:
    """What would be right in place of a folder without a data.yaml."""
    if any(folder.rglob("*.json")) and not any(folder.rglob("*.txt")):
        return f"{CONVERT_COCO}; {_DATA_YAML}"
    if next(folder.rglob("*.xml"), None):
        return f"dataset=voc_xml dataset.path={folder} reads VOC annotations; {_DATA_YAML}"
    return "must be a data.yaml"


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
        if isinstance(first, str) and located(candidate, first).exists():
            return candidate
    return next((folder for folder in candidates if folder.exists()), beside)
