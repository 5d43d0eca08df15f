"""Where ultralytics keeps data sets and their definitions: read without importing ultralytics, never written."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from acmix_exp.child import USER_SETTINGS_VARIABLE
from acmix_exp.files import user_path


def datasets_dir() -> Path:
    """The datasets folder of the user's ultralytics settings; without settings ultralytics' default ``./datasets``."""
    return settings_folder("datasets_dir") or Path("datasets").absolute()


def settings_folder(key: str) -> Path | None:
    """A folder of the user's ultralytics settings, such as ``weights_dir``; None if they do not name it."""
    for file in _settings_files():
        try:
            value = json.loads(file.read_text(encoding="utf-8"))[key]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(value, str) and value:
            return user_path(value).absolute()
    return None


def definition(file: str) -> Path | None:
    """The data.yaml of this name that the installed ultralytics ships; None if it is not installed."""
    spec = importlib.util.find_spec("ultralytics")  # does not import a top-level package
    path = Path(spec.origin).parent / "cfg" / "datasets" / file if spec and spec.origin else None
    return path if path and path.is_file() else None


def _settings_files() -> list[Path]:
    # Child processes have private settings, and the folder of the user's in USER_SETTINGS_VARIABLE.
    if configured := os.environ.get(USER_SETTINGS_VARIABLE, os.environ.get("YOLO_CONFIG_DIR")):
        folder = user_path(configured)
        return [folder / "Ultralytics" / "settings.json", folder / "settings.json"]
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [base / "Ultralytics" / "settings.json"]
