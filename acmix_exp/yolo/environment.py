"""Ultralytics' environment before its import: no network, no installs, none of the user's files. No torch."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from acmix_exp.files import cache_dir


def variables(config_dir: Path) -> dict[str, str]:
    """Environment variables for a process that trains; ``config_dir`` takes ultralytics' settings file."""
    return {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(config_dir),
    }


def prepare() -> None:
    """Set what the caller left unset, unless ultralytics is imported already and reads no variable any more.

    The import writes a settings file where there is none and migrates an old one, so without a folder named
    by the caller it gets one of its own, under the cache folder.
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
