"""Data sets in YOLO layout: a data.yaml names the folders of images; those of the labels follow by convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from acmix_exp.data.class_folders import has_class_folders
from acmix_exp.data.class_names import NamesError, class_names, is_null, similar_names
from acmix_exp.data.dataset import SPLITS, Dataset
from acmix_exp.data.keypoints import read_keypoints
from acmix_exp.data.label_files import LabelFiles
from acmix_exp.data.split_images import SplitImages, as_list, located, split_images
from acmix_exp.data.ultralytics_home import datasets_dir, definition
from acmix_exp.errors import ConfigError
from acmix_exp.errors import setting as as_typed
from acmix_exp.files import user_path
from acmix_exp.model_tasks import DETECT, TASKS

_UNUSED = ("validation", "valid", "dev", "minival")  # other names of val
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
    path: Path, *, setting: str | None = None, name: str | None = None, root: Path | None = None, task: str = DETECT
) -> Dataset:
    """Read a data.yaml as ultralytics does for a task, without its side effects.

    A relative ``path:`` is searched for beside the file, then in the working folder, then in ultralytics' datasets
    folder; ``root`` replaces it. A split is a folder, a .txt list, an image, or a list of these. A test split that does
    not exist or has no label at all is left out, with a note. Raises ConfigError that names ``setting``.
    """
    setting = setting or f"dataset.path={path}"
    try:
        return _read(path, setting, name, root, task)
    except ConfigError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, ~ of an unknown user, a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{setting}: a path in it cannot be used: {reason}; {_DATA_YAML}") from None


def _read(path: Path, setting: str, name: str | None, root: Path | None, task: str) -> Dataset:
    data, written_names = load_yaml(path, setting)
    try:
        names = class_names(written_names, data.get("nc"))
    except NamesError as error:
        raise ConfigError(f"{setting}: {error}") from None
    found: dict[str, SplitImages] = {}
    notes: tuple[str, ...] = ()
    root, remarks = (root, []) if root else _root(data, path.absolute().parent)
    root = root.resolve()
    for split in SPLITS:
        entry = data.get(split)
        if split == "val" and entry is None:
            entry = data.get("validation")  # ultralytics accepts both
        if not entry:
            if split == "test":
                continue
            raise ConfigError(f"{setting}: no key {split!r}{_written_as(split, data)}; {_DATA_YAML}")
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
    remarks += [remark for split in found.values() for remark in split.remarks]
    pose_values = _pose_values(data, setting)
    keypoints = read_keypoints(data, setting, len(names)) if task == "pose" else None
    if keypoints and not keypoints.flip:
        remarks.append("data.yaml has no flip_idx: no image is mirrored in training (fliplr and flipud are 0)")
    if pose_values and task not in (DETECT, "pose"):
        needs = f"model.task={task} needs {TASKS[task].needs}"
        raise ConfigError(f"{setting}: has kpt_shape, so its labels are keypoints; {needs}")
    return Dataset(
        name=name or (path.stem if path.stem not in ("data", "dataset") else path.absolute().parent.name),
        names=names,
        splits={split: images.images for split, images in found.items()},
        source=path.absolute(),
        setting=setting,
        pose_values=pose_values,
        task=task,
        keypoints=keypoints,
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
    remarks += [f"{key}: {data[key]} is not used" for key in _UNUSED if data.get("val") and data.get(key)]
    return remarks


def load_yaml(path: Path, setting: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The mapping in a YAML file, and apart from it the node of its class names. Raises ConfigError."""
    if path.is_dir():
        files = sorted(path.glob("*.yaml")) or sorted(path.glob("*.yml"))
        right = f"must be {as_typed('dataset.path', files[0])}" if files else _right_for(path)
        raise ConfigError(f"{setting}: a folder; {right}")
    if not path.exists():
        if own := definition(path.name):  # such as coco8-seg.yaml
            images = datasets_dir() / str(yaml.safe_load(own.read_text(encoding="utf-8")).get("path"))
            raise ConfigError(f"{setting}: no such file; ultralytics has {own}, for images that you put into {images}")
        raise ConfigError(f"{setting}: no such file; {_DATA_YAML}")
    if kind := _OTHER_FILES.get(path.suffix.lower()):
        raise ConfigError(f"{setting}: {kind}; {_DATA_YAML}")
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8-sig", errors="strict"))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{setting}: holds no keys; {_DATA_YAML}")
        _each_once(root, f"{setting}: {path}")
        loader.flatten_mapping(root)  # the keys of <<: *anchor
        names = next((value for key, value in reversed(root.value) if key.value == "names"), None)
        root.value = [(key, value) for key, value in root.value if value is not names]
        return loader.construct_document(root), names
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigError(f"{setting}: not YAML: {path}{line}: {problem}; {_DATA_YAML}") from None
    except (OSError, ValueError) as error:  # UnicodeDecodeError, and a date such as 2024-13-01
        raise ConfigError(f"{setting}: cannot be read: {error}; {_DATA_YAML}") from None


def _each_once(root: yaml.MappingNode, place: str) -> None:
    """Raise ConfigError for a key that is there twice; YAML would take the last one."""
    lines: dict[str, int] = {}
    for key, _ in root.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(f"{place}:{line}: {name} is in line {lines[name]} too; must be there once")
        lines[name] = line


def _written_as(split: str, data: dict[str, Any]) -> str:
    """The key that may be meant, if a split has another name."""
    others = sorted(str(key) for key in data if key != split)
    like = next((key for key in others if key.lower() in (split, *(_UNUSED if split == "val" else ()))), None)
    return f", but {like!r}" if like else ""


def _right_for(folder: Path) -> str:
    """What would be right in place of a folder without a data.yaml."""
    if has_class_folders(folder):
        return f"has a folder of images for each class, which model.task=classify reads; {_DATA_YAML}"
    if any(folder.rglob("*.json")) and not any(folder.rglob("*.txt")):
        return f"{CONVERT_COCO}; {_DATA_YAML}"
    if next(folder.rglob("*.xml"), None):
        return f"dataset=voc_xml {as_typed('dataset.path', folder)} reads VOC annotations; {_DATA_YAML}"
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


def _root(data: dict[str, Any], beside: Path) -> tuple[Path, list[str]]:
    """The folder that the splits are relative to: the first candidate that has them; remarks on the choice."""
    given = user_path(str(data.get("path") or "."))
    candidates = [beside / given, Path.cwd() / given, datasets_dir() / given, beside]
    first = next(iter(as_list(data.get("train"))), None)
    found = [folder for folder in candidates if isinstance(first, str) and located(folder, first).exists()]
    if not found or not isinstance(first, str):
        return next((folder for folder in candidates if folder.exists()), beside), []
    if not data.get("path"):
        return found[0], []
    if found[0] is beside:
        return beside, [f"path: {data['path']} does not have {first}; read from the folder of data.yaml, {beside}"]
    folders = {located(folder, first): folder for folder in reversed(found) if folder is not beside}
    here = f"path: {data['path']} is {found[0].resolve()}"
    others = [folder.resolve() for folder in folders.values() if folder is not found[0]]
    return found[0], [f"{here}, not {other}, which exists too" for other in others]
