"""A run directory: its status, its files read with damage removed, its claim and its history."""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import is_zipfile

from acmix_exp.errors import NonFiniteLoss
from acmix_exp.files import CLAIM, read_json, remove_temporaries, write_json, write_text
from acmix_exp.model_tasks import scores_in
from acmix_exp.run.claim import SILENT_SECONDS, Claim, claimed, last_beat
from acmix_exp.run.owner import Owner

FILES = ("config.yaml", "status.json", "result.json", "provenance.json")
RUN_FILES = (*FILES, ".lock", "history.csv", "train.log", "outcomes.npz", "replicates.npz")
RUN_FOLDERS = ("weights", "images", "wandb")
RunState = Literal["pending", "running", "done", "failed", "interrupted"]
STATUS_TYPES: dict[str, type | tuple[type, ...]] = {
    "started": (int, float),
    "diverged": int,
    "serves": list,
    "arm": str,
}


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
        """status.json, without entries of a wrong type; None if it is missing or corrupt."""
        value = read_json(self.path / "status.json") or {}
        types = isinstance(value.get("swept", {}), dict) and isinstance(value.get("attempt", 0), int)
        if not types or value.get("status") not in get_args(RunState):
            return None
        return {key: entry for key, entry in value.items() if isinstance(entry, STATUS_TYPES.get(key, object))}

    def state(self) -> RunState:
        """The verified status: done requires a result, and running requires a process that is alive.

        A process of another host is alive if its heartbeat is not older than SILENT_SECONDS. A result whose mAP is not
        finite is a failed run.
        """
        status = self.status() or {}
        state: RunState = status.get("status", "pending")
        if state == "done" and self.result() is None:
            return "failed" if self._mean_is_not_finite() else "pending"
        if state == "running":
            owner = Owner.of(status)
            alive = owner is not None and owner.alive(Owner.here())
            return "running" if alive or (alive is None and self.silence() < SILENT_SECONDS) else "interrupted"
        return state

    def silence(self) -> float:
        """Seconds since the last heartbeat or change of the status; infinite if there never was one."""
        times = [last_beat(self.path)]
        with suppress(OSError):
            times.append((self.path / "status.json").stat().st_mtime)
        return time.time() - max((each for each in times if each is not None), default=-math.inf)

    def result(self) -> dict[str, Any] | None:
        """result.json with every number finite or None; None if it is missing or has no headline metrics."""
        return whole_result(read_json(self.path / "result.json"))

    def ended_attempts(self) -> int:
        """How many attempts have ended, whatever became of them."""
        status = self.status() or {}
        return int(status.get("attempt", 0)) - (status.get("status") == "running")

    def diverged_attempts(self) -> int:
        """How many attempts ended in a loss or an mAP that is not finite.

        Versions before 0.2.0 did not count them: of theirs the last attempt is known, by the text of its error.
        """
        status = self.status() or {}
        counted = status.get("diverged")
        last = _not_finite(status) or self._mean_is_not_finite()
        return max(counted if isinstance(counted, int) else 0, int(last))

    def _mean_is_not_finite(self) -> bool:
        metrics = (read_json(self.path / "result.json") or {}).get("metrics")
        means = [metrics[key] for key in scores_in(metrics) if key in metrics] if isinstance(metrics, dict) else []
        return any(mean is None or (isinstance(mean, float) and not math.isfinite(mean)) for mean in means)

    def provenance(self) -> dict[str, Any]:
        return whole_provenance(read_json(self.path / "provenance.json"))

    def weights(self) -> Path | None:
        """The checkpoint of the headline metrics, else another that was kept; None if there is none."""
        headline = ((self.result() or {}).get("metrics") or {}).get("checkpoint")
        for name in (headline, "best.pt", "last.pt"):
            if name and (path := self.path / "weights" / Path(name).name).is_file():
                return path
        return None

    def is_done(self) -> bool:
        return self.state() == "done"

    def has_diverged(self) -> bool:
        """Whether its last attempt ended in a loss or an mAP that is not finite, which is its result."""
        status = self.status() or {}
        if status.get("status") == "done":
            return self._mean_is_not_finite()
        return status.get("status") == "failed" and _not_finite(status)

    def is_final(self) -> bool:
        """Whether the same command leaves it as it is: it is done, or has diverged."""
        return self.is_done() or self.has_diverged()

    def broken(self) -> str | None:
        """Which file contradicts the status, in words; None if none does."""
        status = self.status()
        if status is None:
            return "status.json is corrupt" if (self.path / "status.json").exists() else None
        if self._mean_is_not_finite():
            return "the mAP in result.json is not finite"
        if status["status"] != "done" or self.result() is not None:
            return None
        return "result.json is truncated" if (self.path / "result.json").exists() else "result.json is missing"

    def damaged(self) -> list[str]:
        """The files of a finished run that are cut, though its result is whole."""
        cut = ["history.csv"] if len(self.history()) < int((self.result() or {}).get("epochs") or 0) else []
        archives = ("outcomes.npz", "replicates.npz", "weights/best.pt", "weights/last.pt")
        return cut + [name for name in archives if (self.path / name).exists() and not is_zipfile(self.path / name)]

    def set_status(self, **changes: Any) -> None:
        write_json(self.path / "status.json", {**(self.status() or {}), **changes})

    def history(self) -> list[dict[str, str]]:
        """Rows of history.csv, one per epoch; incomplete rows and rows of another format are left out."""
        try:
            with open(self.path / "history.csv", newline="", encoding="utf-8") as file:
                return [row for row in csv.DictReader(file) if None not in row.values() and _is_epoch(row)]
        except (OSError, ValueError, csv.Error):
            return []

    def clear(self) -> None:
        """Remove the files of earlier attempts, except config, status, provenance, lock and claims."""
        for entry in self.path.iterdir():
            kept = (".lock", "config.yaml", "status.json", "provenance.json")
            if entry.name not in kept and not entry.name.startswith(CLAIM):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def remove_temporaries(self) -> None:
        """Remove what a killed attempt left half-written. Only while the lock is held and no child is at work."""
        for folder in (self.path, self.path / "weights", self.path / "images"):
            remove_temporaries(folder)

    def lock(
        self, owner: Owner | None = None, has_ended: Callable[[Owner], bool] | None = None
    ) -> AbstractContextManager[Claim | None]:
        """Claim the run, for this process or another ``owner``; yields None if another process or thread works on it.

        has_ended: see :func:`acmix_exp.run.claim.claimed`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return claimed(self.path, owner or Owner.here(), has_ended)


def _is_epoch(row: dict[str, str]) -> bool:
    with suppress(KeyError, ValueError, OverflowError):
        headline = next((key for key in ("top1", "map50_95") if key in row), None)
        numbers = [float(row[key]) for key in ("epoch", *scores_in(row)) if key in row]
        return headline is not None and int(float(row["epoch"])) > 0 and len(numbers) > 1
    return False


def _not_finite(status: dict[str, Any]) -> bool:
    return str(status.get("error") or "").startswith(f"{NonFiniteLoss.__name__}: ")


def runs_in(folder: Path) -> list[Run]:
    """The run directories of an experiment's folder, sorted by name: folders that contain any of :data:`FILES`."""
    if not folder.is_dir():
        return []
    return [Run(path) for path in sorted(folder.iterdir()) if any((path / name).is_file() for name in FILES)]


NUMBER_OBJECTS = ("cost", "val_best", "val_last")
PROVENANCE_OBJECTS = ("identity", "dataset", "versions", "git", "hardware", "environment", "transfer")
IDENTITY_OBJECTS = ("block", "placement", "model", "train", "hardware")


def whole_result(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """Sanitize result.json: parts of a wrong type are left out, non-finite numbers become None.

    Returns None if there are no headline metrics.
    """
    value = value or {}
    metrics, cost = value.get("metrics"), value.get("cost")
    if not isinstance(metrics, dict) or not isinstance(cost, dict):
        return None
    if not all(_is_number(metrics.get(key)) for key in scores_in(metrics)):
        return None
    classes = metrics.get("per_class")
    if classes is not None:
        items = classes.items() if isinstance(classes, dict) else ()
        metrics = {**metrics, "per_class": {name: _numbers(entry) for name, entry in items if isinstance(entry, dict)}}
    objects = ("swept", *NUMBER_OBJECTS)
    valid = {key: part for key, part in value.items() if key not in objects or isinstance(part, dict)}
    return {**valid, **{key: _numbers(valid[key]) for key in NUMBER_OBJECTS if key in valid}, "metrics": metrics}


def whole_provenance(value: dict[str, Any] | None) -> dict[str, Any]:
    """Sanitize provenance.json: parts of a wrong type are left out, and ``identity`` if any part of it has one."""
    valid = {
        key: part
        for key, part in (value or {}).items()
        if key not in PROVENANCE_OBJECTS or part is None or isinstance(part, dict)
    }
    identity = valid.get("identity") or {}
    several = identity.get("insertions") or []
    parts = [identity, *(several if isinstance(several, list) else [None])]
    if not all(
        isinstance(part, dict) and isinstance(part.get(key) or {}, dict) for part in parts for key in IDENTITY_OBJECTS
    ):
        valid.pop("identity")
    return valid


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, bool) or _is_number(value) else None for key, value in part.items()}


class History:
    """history.csv of a run: one row per saved epoch, rewritten after each, without duplicates after a resume."""

    def __init__(self, run: Run, *, resumed: bool) -> None:
        self.path = run.path / "history.csv"
        self.rows: list[dict[str, object]] = [dict(row) for row in run.history()] if resumed else []

    def add(self, row: dict[str, float]) -> None:
        """Add the row of an epoch; rows of that epoch or later ones, from an earlier attempt, are dropped."""
        earlier = [old for old in self.rows if int(float(str(old["epoch"]))) < row["epoch"]]
        self.rows = [*earlier, {**row, "epoch": int(row["epoch"])}]
        self._write()

    def restore(self, rows: list[dict[str, float]]) -> list[dict[str, float]]:
        """Make the file hold ``rows``, those of the saved epochs; returns those that it lacked."""
        known = {str(row["epoch"]) for row in self.rows}
        self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows]
        self._write()
        return [row for row in rows if str(int(row["epoch"])) not in known]

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for row in self.rows for key in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
