"""From the dataset group of the config to a data set on disk: generated, converted, found or downloaded."""

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
from acmix_exp.data.class_folders import read_class_folders
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.shapes import make_shapes
from acmix_exp.data.split_images import as_list
from acmix_exp.data.ultralytics_home import datasets_dir, definition
from acmix_exp.data.voc import convert_voc
from acmix_exp.data.yolo_layout import load_yaml, read_data_yaml
from acmix_exp.errors import ConfigError
from acmix_exp.files import appearing, cache_dir, user_path
from acmix_exp.model_tasks import CLASSIFY, DETECT, TASKS

DEFINITIONS = {
    "coco8": "coco8.yaml",
    "coco128": "coco128.yaml",
    "coco": "coco.yaml",
    "voc": "VOC.yaml",
    "visdrone": "VisDrone.yaml",
}
HAVE_FORMS = (("coco", "segment"),)  # named data sets whose labels have more than boxes, and the task they serve
_TIMEOUT = 20.0  # seconds without a byte


class DownloadError(RuntimeError):
    """Why a download failed, in one line."""


def resolve(cfg: DatasetConfig, task: str | None = None) -> Dataset:
    """Find, generate, convert or download the data set of a config, for ``model.task``; None: detect.

    Raises ConfigError: one line with key, value and what would be right.
    """
    root = user_path(cfg.root).absolute() if cfg.root else None
    output, task = root or cache_dir(), task or DETECT
    if task != DETECT and cfg.name not in ("shapes", "yolo") and (cfg.name, task) not in HAVE_FORMS:
        path = "FOLDER" if task == CLASSIFY else "DATA.yaml"
        raise ConfigError(
            f"dataset.name={cfg.name}: its labels are boxes, and model.task={task} needs {TASKS[task].needs}; "
            f"use dataset=yolo dataset.path={path}, or dataset=shapes"
        )
    try:
        if cfg.name == "shapes":
            made, setting = make_shapes(output, task), "dataset.name=shapes"
            if task == CLASSIFY:
                return read_class_folders(made, setting=setting, name="shapes")
            return read_data_yaml(made, setting=setting, name="shapes", task=task)
        if cfg.name == "voc_xml":
            return convert_voc(_path(cfg, "a VOC folder"), output)
    except OSError as error:
        raise ConfigError(
            f"dataset.root={cfg.root or 'null'}: cannot write to {output}: "
            f"{error.filename or output}: {error.strerror or error}; must be a writable folder"
        ) from None
    if cfg.name == "yolo" and task == CLASSIFY:
        return read_class_folders(_path(cfg, TASKS[task].needs))
    if cfg.name == "yolo":
        return read_data_yaml(_path(cfg, "a data.yaml"), task=task)
    if cfg.name in DEFINITIONS:
        return find_named(cfg.name, root, task)
    known = ", ".join(["shapes", "yolo", "voc_xml", *DEFINITIONS])
    raise ConfigError(f"dataset.name={cfg.name}: no such data set; must be one of {known}")


def _path(cfg: DatasetConfig, needed: str) -> Path:
    if not cfg.path:
        raise ConfigError(f"dataset.path=null: dataset={cfg.name} needs a path; must be {needed}")
    return user_path(cfg.path)


def find_named(name: str, root: Path | None, task: str = DETECT) -> Dataset:
    """Return a data set that ultralytics defines, from ``root`` or ultralytics' datasets folder, or download it.

    A download appears there complete or not at all. Raises ConfigError that says where to put the files by hand.
    """
    setting = f"dataset.name={name}"
    file = definition(DEFINITIONS[name])
    if file is None:
        raise ConfigError(f"{setting}: {DEFINITIONS[name]} is a file of ultralytics; ultralytics must be installed")
    data, _ = load_yaml(file, setting)
    base = root or datasets_dir()
    folder = base / str(data["path"])
    # dataset.root may name the folder that holds the data set, or the data set itself.
    candidates = [folder, root] if root else [folder]
    entries = dict.fromkeys(entry for split in ("train", "val") for entry in as_list(data[split]))
    complete = next((path for path in candidates if all((path / entry).exists() for entry in entries)), None)
    if complete is None:
        labels = [entry.replace("images/", "labels/", 1) for entry in entries if entry.startswith("images/")]
        content = ", ".join([*entries, *(labels or ["images/", "labels/"])])
        if folder.exists():
            raise ConfigError(f"{setting}: {folder} is incomplete; must contain {content}, or not exist")
        try:
            _download(file, data, folder)
        except (DownloadError, OSError) as error:
            raise ConfigError(
                f"{setting}: not in {base}, and the download failed ({error}); "
                f"{content} must be in {folder}, or in FOLDER with dataset.root=FOLDER"
            ) from None
        complete = folder
    return replace(read_data_yaml(file, setting=setting, name=name, root=complete, task=task), source=complete)


def _download(file: Path, data: dict[str, Any], folder: Path) -> None:
    if os.environ.get("YOLO_OFFLINE", "").lower() == "true":
        raise DownloadError("YOLO_OFFLINE is set")
    source = str(data.get("download") or "").strip()
    if source.startswith("http") and "\n" not in source:
        download_zip(source, folder)
    else:
        download_by_script(file, folder)


def download_zip(url: str, folder: Path) -> None:
    """Download a zip and write the content of its top folder to ``folder``. Raises DownloadError, OSError."""
    with appearing(folder) as unpacked, tempfile.TemporaryFile() as file:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                shutil.copyfileobj(response, file)
        except (OSError, ValueError) as error:
            raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from None
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    parts = Path(member.filename).parts[1:]  # without the top folder
                    if member.is_dir() or not parts or ".." in parts:
                        continue
                    target = unpacked.joinpath(*parts)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(member))
        except zipfile.BadZipFile:
            raise DownloadError(f"{url}: not a zip file") from None


def download_by_script(definition: Path, folder: Path) -> None:
    """Let ultralytics run the download of a data.yaml, and move what it brings to ``folder``.

    It runs in a child process with other ultralytics settings, whose datasets folder is beside ``folder``: the user's
    settings stay unchanged, and no process sees a half-downloaded data set. Raises DownloadError, OSError.
    """
    with appearing(folder) as complete, tempfile.TemporaryDirectory(prefix="acmix_exp-") as scratch:
        datasets = complete / "datasets"
        settings = Path(scratch, "Ultralytics", "settings.json")
        for parent in (datasets, settings.parent):
            parent.mkdir()
        settings.write_text(json.dumps({"datasets_dir": str(datasets), "sync": False}))
        variables = {"YOLO_CONFIG_DIR": scratch, "YOLO_OFFLINE": "", "YOLO_VERBOSE": "true"}
        progress = Path("/dev/stderr") if sys.stderr.isatty() else None
        request = {"definition": str(definition), "scratch": scratch}
        child = run_child("download", folder, request, variables=variables, log=progress)
        if child.error is not None:
            raise DownloadError(child.error)
        for item in sorted((datasets / folder.name).iterdir()):
            shutil.move(item, complete / item.name)
        shutil.rmtree(datasets)
