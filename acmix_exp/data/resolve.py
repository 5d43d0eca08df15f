"""From the config's dataset group to a data set that is there."""

from __future__ import annotations

from pathlib import Path

from acmix_exp.config import ConfigError, DatasetConfig
from acmix_exp.data.dataset import Dataset
from acmix_exp.data.folders import cache_dir
from acmix_exp.data.named import DEFINITIONS, find_named
from acmix_exp.data.shapes import make_shapes
from acmix_exp.data.voc_xml import convert_voc
from acmix_exp.data.yolo_layout import read_data_yaml


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
