"""history.csv: one row an epoch, whole after every epoch, without a row twice after a resume."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import math
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_exp.child import is_alive
from acmix_exp.files import read_json, write_json, write_text

FILES = ("config.yaml", "status.json", "result.json", "provenance.json")
STATUSES = ("pending", "running", "done", "failed", "interrupted")


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


HEADLINE = ("map50_95", "map50")
OF_NUMBERS = ("cost", "val_best", "val_last")
PROVENANCE_OBJECTS = ("identity", "dataset", "versions", "git", "hardware", "environment", "transfer")
IDENTITY_OBJECTS = ("block", "placement", "model", "train", "hardware")


def whole_result(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """result.json as read, parts of another type left out and numbers that are none None; None without a headline."""
    value = value or {}
    metrics, cost = value.get("metrics"), value.get("cost")
    if not isinstance(metrics, dict) or not isinstance(cost, dict):
        return None
    if not all(_is_number(metrics.get(key)) for key in HEADLINE):
        return None
    classes = metrics.get("per_class")
    if classes is not None:
        found = classes.items() if isinstance(classes, dict) else ()
        metrics = {**metrics, "per_class": {name: _numbers(entry) for name, entry in found if isinstance(entry, dict)}}
    kept = {key: part for key, part in value.items() if key not in ("swept", *OF_NUMBERS) or isinstance(part, dict)}
    return {**kept, **{key: _numbers(kept[key]) for key in OF_NUMBERS if key in kept}, "metrics": metrics}


def whole_provenance(value: dict[str, Any] | None) -> dict[str, Any]:
    """provenance.json as read, without parts of another type; without ``identity`` where that is no whole one."""
    found = {
        key: part
        for key, part in (value or {}).items()
        if key not in PROVENANCE_OBJECTS or part is None or isinstance(part, dict)
    }
    identity = found.get("identity") or {}
    if not all(isinstance(identity.get(key) or {}, dict) for key in IDENTITY_OBJECTS):
        found.pop("identity")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, bool) or _is_number(value) else None for key, value in part.items()}


class History:
    """Rows of one run; rows that an earlier attempt wrote stay where this attempt resumes behind them."""

    def __init__(self, run: Run, *, resumed: bool) -> None:
        self.path = run.path / "history.csv"
        self.rows: list[dict[str, object]] = [dict(row) for row in run.history()] if resumed else []

    def add(self, row: dict[str, float]) -> None:
        """Add an epoch's row in place of any row of that epoch or a later one."""
        kept = [old for old in self.rows if int(float(str(old["epoch"]))) < row["epoch"]]
        self.rows = [*kept, {**row, "epoch": int(row["epoch"])}]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for row in self.rows for key in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
