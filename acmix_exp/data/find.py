"""From the config's dataset group to a data set that is there."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.child import run_child
from acmix_exp.config import DatasetConfig
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.shapes import make_shapes
from acmix_exp.data.ultralytics_home import datasets_dir, definition
from acmix_exp.data.voc import convert_voc
from acmix_exp.data.yolo_layout import load_yaml, read_data_yaml
from acmix_exp.errors import ConfigError
from acmix_exp.files import appearing, cache_dir

_TIMEOUT = 20.0  # seconds without a byte


class DownloadError(RuntimeError):
    """Why a download failed, in one line."""


def download_zip(url: str, folder: Path) -> None:
    """Download a zip and make ``folder`` of the one folder in it. Raises DownloadError, OSError."""
    _refuse_offline()
    with appearing(folder) as made, tempfile.TemporaryFile() as file:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                shutil.copyfileobj(response, file)
        except (OSError, ValueError) as error:
            raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from None
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.namelist():
                    inside = Path(*Path(member).parts[1:])  # without the top folder
                    if member.endswith("/") or not Path(member).parts[1:] or ".." in inside.parts:
                        continue
                    place = made / inside
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(archive.read(member))
        except zipfile.BadZipFile:
            raise DownloadError(f"{url}: not a zip file") from None


def download_by_script(definition: Path, folder: Path) -> None:
    """Let ultralytics run the download of a data.yaml, and make ``folder`` of what it brings.

    It runs in a child process with settings of its own, whose datasets folder lies beside ``folder``: the user's
    settings stay untouched and nobody sees a half downloaded set. Raises DownloadError, OSError.
    """
    _refuse_offline()
    with appearing(folder) as made, tempfile.TemporaryDirectory(prefix="acmix_exp-") as scratch:
        datasets = made / "datasets"
        settings = Path(scratch, "Ultralytics", "settings.json")
        for parent in (datasets, settings.parent):
            parent.mkdir()
        settings.write_text(json.dumps({"datasets_dir": str(datasets), "sync": False}))
        variables = {"YOLO_CONFIG_DIR": scratch, "YOLO_OFFLINE": "", "YOLO_VERBOSE": "true"}
        progress = Path("/dev/stderr") if sys.stderr.isatty() else None
        request = {"definition": str(definition), "scratch": scratch}
        done = run_child("download", folder, request, variables=variables, log=progress)
        if done.error is not None:
            raise DownloadError(done.error)
        for item in sorted((datasets / folder.name).iterdir()):
            shutil.move(item, made / item.name)
        shutil.rmtree(datasets)


def _refuse_offline() -> None:
    if os.environ.get("YOLO_OFFLINE", "").lower() == "true":
        raise DownloadError("YOLO_OFFLINE is set")


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


def resolve(cfg: DatasetConfig) -> Dataset:
    """Find, generate, convert or download the data set of a config.

    Raises ConfigError, in one line that names key, value and what would be right.
    """
    root = Path(cfg.root).expanduser().absolute() if cfg.root else None
    keep = root or cache_dir()
    try:
        if cfg.name == "shapes":
            return read_data_yaml(make_shapes(keep), setting="dataset.name=shapes", name="shapes")
        if cfg.name == "voc_xml":
            return convert_voc(_path(cfg), keep)
    except OSError as error:
        reason = f"{error.filename or keep}: {error.strerror or error}"
        if cfg.path and Path(str(error.filename)).is_relative_to(_path(cfg).absolute()):
            raise ConfigError(f"dataset.path={cfg.path}: {reason}; right is a folder that can be read") from None
        raise ConfigError(
            f"dataset.root={cfg.root or 'null'}: cannot write to {keep}: {reason}; "
            "right is a folder that can be written, as dataset.root=FOLDER"
        ) from None
    if cfg.name == "yolo":
        return read_data_yaml(_path(cfg))
    if cfg.name in DEFINITIONS:
        return find_named(cfg.name, root)
    known = ", ".join(["shapes", "yolo", "voc_xml", *DEFINITIONS])
    raise ConfigError(f"dataset.name={cfg.name}: no such data set; right are {known}")


def _path(cfg: DatasetConfig) -> Path:
    if not cfg.path:
        what = "a data.yaml" if cfg.name == "yolo" else "a VOC folder"
        raise ConfigError(f"dataset.path=null: dataset={cfg.name} needs one; right is {what}")
    return Path(cfg.path).expanduser()
