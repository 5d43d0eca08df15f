"""Environment variables for the import of ultralytics: no network, no installs, no access to the user's files."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from acmix_exp.files import cache_dir


def variables(config_dir: Path) -> dict[str, str]:
    """Environment variables for a process that trains; ``config_dir`` holds the settings file of ultralytics."""
    return {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(config_dir)}


def prepare() -> None:
    """Set the variables that are unset, unless ultralytics is already imported and no longer reads them.

    The import writes a missing settings file and migrates an old one. If the caller has not set YOLO_CONFIG_DIR, this
    happens in a folder below the cache folder of this package.
    """
    if "ultralytics" in sys.modules:
        return
    for name, value in variables(_config_dir()).items():
        os.environ.setdefault(name, value)


def _config_dir() -> Path:
    folder = cache_dir() / "ultralytics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="acmix_exp-"))
    return folder
