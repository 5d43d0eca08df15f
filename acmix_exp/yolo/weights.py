"""Where pretrained weights are: a path, or ultralytics' name for a file that is looked up and, once, downloaded."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import urllib.request
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import ConfigError
from acmix_exp.data.folders import cache_dir
from acmix_exp.data.ultralytics_home import settings_folder

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
TIMEOUT_SECONDS = 20


@lru_cache(maxsize=8)
def find_weights(name: str) -> Path:
    """The local file for ``model.pretrained``: as a path, in ultralytics' weights folder, in our cache, or downloaded.

    Raises ConfigError where there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    if not re.fullmatch(r"yolov8[nsmlx]\.pt", name):
        raise ConfigError(
            f"model.pretrained={name}: no such file; must be a checkpoint's path, or yolov8n.pt to yolov8x.pt"
        )
    for folder in (settings_folder("weights_dir"), cache_dir() / "weights"):
        if folder is not None and (folder / name).is_file():
            return (folder / name).resolve()
    return _download(name)


def _download(name: str) -> Path:
    target = cache_dir() / "weights" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        try:
            with urllib.request.urlopen(RELEASE + name, timeout=TIMEOUT_SECONDS) as response:
                shutil.copyfileobj(response, part)
        except OSError as error:
            Path(part.name).unlink(missing_ok=True)
            raise ConfigError(
                f"model.pretrained={name}: not on this machine, and the download failed ({error}); "
                "give the path of a copy"
            ) from error
    os.replace(part.name, target)
    return target.resolve()
