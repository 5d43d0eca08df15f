"""The data sets that ultralytics knows by name: found in its datasets folder, or downloaded to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.config import ConfigError
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.download import DownloadError, download_by_script, download_zip
from acmix_exp.data.ultralytics_home import datasets_dir, definition
from acmix_exp.data.yolo_layout import load_yaml, read_data_yaml

DEFINITIONS = {
    "coco8": "coco8.yaml",
    "coco128": "coco128.yaml",
    "coco": "coco.yaml",
    "voc": "VOC.yaml",
    "visdrone": "VisDrone.yaml",
}


def find_named(name: str, root: Path | None) -> Dataset:
    """Return a data set by its name, from ``root`` or ultralytics' datasets folder, or download it.

    A download appears there whole or not at all. Raises ConfigError, saying where to put the files by hand.
    """
    setting = f"dataset.name={name}"
    file = definition(DEFINITIONS[name])
    if file is None:
        raise ConfigError(
            f"{setting}: its definition {DEFINITIONS[name]} comes with ultralytics, which is not installed"
        )
    data = load_yaml(file, setting)
    base = root or datasets_dir()
    folder = base / str(data["path"])
    # dataset.root may name the folder that holds the data set, or the data set itself.
    for candidate in (folder, *([root] if root else ())):
        if _present(candidate, data):
            return _read(name, file, candidate)
    if folder.exists():
        raise ConfigError(f"{setting}: {folder} is incomplete; right is {_files(data)} in it, or no such folder at all")
    try:
        _download(file, data, folder)
    except (DownloadError, OSError) as error:
        raise ConfigError(
            f"{setting}: not in {base}, and the download failed ({error}); "
            f"right is {_files(data)} in {folder}, or dataset.root=FOLDER where they are"
        ) from None
    return _read(name, file, folder)


def _read(name: str, file: Path, folder: Path) -> Dataset:
    dataset = read_data_yaml(file, setting=f"dataset.name={name}", name=name, root=folder)
    return replace(dataset, source=folder)


def _entries(data: dict[str, Any]) -> list[str]:
    entries = [data[split] for split in ("train", "val")]
    return [part for entry in entries for part in (entry if isinstance(entry, list) else [entry])]


def _files(data: dict[str, Any]) -> str:
    parts = list(dict.fromkeys(_entries(data)))
    labels = [part.replace("images/", "labels/", 1) for part in parts if part.startswith("images/")]
    return ", ".join([*parts, *(labels or ["images/", "labels/"])])


def _present(folder: Path, data: dict[str, Any]) -> bool:
    return all((folder / entry).exists() for entry in _entries(data))


def _download(file: Path, data: dict[str, Any], folder: Path) -> None:
    how = str(data.get("download") or "")
    if how.startswith("http") and "\n" not in how.strip():
        download_zip(how.strip(), folder)
    else:
        download_by_script(file, folder)
