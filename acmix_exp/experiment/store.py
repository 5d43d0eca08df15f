"""The run directory: its files, its status and its lock. Everything is written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_exp.experiment.process import is_alive
from acmix_exp.experiment.whole import whole_provenance, whole_result

FILES = ("config.yaml", "status.json", "result.json", "provenance.json")
STATUSES = ("pending", "running", "done", "failed", "interrupted")


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a kill in the middle, sees the old text or the new."""
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
    """The file's object, NaN and infinities in it as None; None where it is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Run:
    """One run directory ``runs/<name>/<arm>-s<seed>-<hash8>``."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def last(self) -> Path:
        return self.path / "weights" / "last.pt"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    def status(self) -> dict[str, Any] | None:
        """status.json; None where it is missing or corrupt."""
        value = read_json(self.path / "status.json") or {}
        types = isinstance(value.get("swept", {}), dict) and isinstance(value.get("attempt", 0), int)
        return value if types and value.get("status") in STATUSES else None

    def state(self) -> str:
        """The status in one word, told from the facts: done needs a result, running a living owner."""
        status = self.status() or {"status": "pending"}
        if self.is_done():
            return "done"
        if status["status"] == "running" and status.get("host") == platform.node():
            owner = status.get("owner")
            return "running" if isinstance(owner, int) and is_alive(owner) else "interrupted"
        return str(status["status"]) if status["status"] != "done" else "pending"

    def result(self) -> dict[str, Any] | None:
        """result.json, of which every number is finite or None; None where it is missing or holds no headline."""
        return whole_result(read_json(self.path / "result.json"))

    def provenance(self) -> dict[str, Any]:
        return whole_provenance(read_json(self.path / "provenance.json"))

    def weights(self) -> Path | None:
        """The weights that the headline was measured on, else whichever were kept; None where none were."""
        headline = ((self.result() or {}).get("metrics") or {}).get("checkpoint")
        for name in (headline, "best.pt", "last.pt"):
            if name and (path := self.path / "weights" / Path(name).name).is_file():
                return path
        return None

    def is_done(self) -> bool:
        status = self.status()
        return status is not None and status["status"] == "done" and self.result() is not None

    def broken(self) -> str | None:
        """Which file is not what its status needs, in words; None where all is well."""
        status = self.status()
        if status is None:
            return "status.json is corrupt" if (self.path / "status.json").exists() else None
        if status["status"] != "done" or self.result() is not None:
            return None
        there = (self.path / "result.json").exists()
        return "result.json is cut or holds no finite mAP" if there else "result.json is missing"

    def set_status(self, **changes: Any) -> None:
        write_json(self.path / "status.json", {**(self.status() or {}), **changes})

    def history(self) -> list[dict[str, str]]:
        """Rows of history.csv, one an epoch; what is torn or no such row is left out."""
        try:
            with open(self.path / "history.csv", newline="", encoding="utf-8") as file:
                return [row for row in csv.DictReader(file) if None not in row.values() and "map50_95" in row]
        except (OSError, ValueError, csv.Error):
            return []

    def clear(self) -> None:
        """Remove what an earlier attempt left, all but the config, the status and the lock."""
        for entry in self.path.iterdir():
            if entry.name not in (".lock", "config.yaml", "status.json", "provenance.json"):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    @contextlib.contextmanager
    def lock(self, *, wait: bool = False) -> Iterator[bool]:
        """Hold the run; yields False where another process holds it (and ``wait`` is not asked for)."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def runs_in(folder: Path) -> list[Run]:
    """Every run directory of an experiment's folder, by name: a folder that holds any of a run's own files."""
    if not folder.is_dir():
        return []
    return [Run(path) for path in sorted(folder.iterdir()) if any((path / name).is_file() for name in FILES)]
