"""Atomic writes of files and folders, and the user's cache folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz atomically."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically: a reader, or a kill during the write, finds the old text or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object, with NaN and infinities as None; None if the file is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


_STALE_AFTER = 24 * 3600.0  # seconds after which a temporary folder of a killed process is deleted


def cache_dir() -> Path:
    """The user's cache folder of this program: ``$XDG_CACHE_HOME/acmix_exp`` or ``~/.cache/acmix_exp``."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "acmix_exp"


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` and rename it to ``target`` when the block ends without an exception.

    If another process has created ``target`` meanwhile, the new folder is deleted. Raises OSError.
    """
    new_parent = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.making-"
    for old in target.parent.glob(f"{prefix}*"):
        if time.time() - old.stat().st_mtime > _STALE_AFTER:
            shutil.rmtree(old, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        folder = temporary / "folder"
        folder.mkdir()  # the folder of mkdtemp is private to the user (0700); this one follows the umask
        yield folder
        try:
            os.rename(folder, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new_parent:
            with suppress(OSError):
                target.parent.rmdir()  # succeeds only if it is empty: after a failure
