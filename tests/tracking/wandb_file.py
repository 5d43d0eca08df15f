"""Reader of the transaction log that wandb writes, ``run-<id>.wandb``."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = 7  # ":W&B", magic u16, version u8
BLOCK = 32768
FULL, LAST = 1, 4


@dataclass
class WandbFile:
    """One segment of a W&B run. metrics: name or glob -> step metric; of wandb's own keys rows keep _step.

    ``step_of`` answers for one key.
    """

    id: str = ""
    name: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    host: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    kinds: dict[str, int] = field(default_factory=dict)

    def step_of(self, key: str) -> str:
        """The metric that is the x axis of ``key``: its own, else the longest glob's, else ""."""
        name = key.replace(".", "\\.")
        if name in self.metrics:
            return self.metrics[name]
        globs = [glob for glob in self.metrics if glob.endswith("*") and key.startswith(glob[:-1])]
        return self.metrics[max(globs, key=len)] if globs else ""


def find(run_dir: Path) -> list[Path]:
    """The .wandb files of a run directory, oldest segment first."""

    def age(path: Path) -> tuple[str, int]:
        began = path.parent.name.split("run-")[1]  # date_time-id: seconds, so that two may share it
        return began[:15], path.stat().st_mtime_ns

    return sorted(Path(run_dir).glob("wandb/*run-*/run-*.wandb"), key=age)


def records(path: Path) -> Iterator[Any]:
    """Records of a LevelDB log (crc32 u32, length u16, type u8; 32 KiB blocks); a torn tail ends it."""
    from wandb.proto import wandb_internal_pb2

    data = Path(path).read_bytes()
    if not data:
        return
    assert data[:4] == b":W&B", f"{path} is no .wandb file"
    position, pending = HEADER, b""
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        position += 7
        if kind == 0 or position + length > len(data):
            return
        pending += data[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pending)
            pending = b""
            yield record


def read(path: Path) -> WandbFile:
    """Replay one .wandb file."""
    file = WandbFile()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        file.kinds[kind] = file.kinds.get(kind, 0) + 1
        if kind == "run":
            run = record.run
            file.id, file.name, file.host = run.run_id, run.display_name, run.host
            file.project, file.entity = run.project, run.entity
            file.group, file.job_type, file.tags = run.run_group, run.job_type, list(run.tags)
            file.notes = run.notes
            _update(file.config, run.config.update)
        elif kind == "config":
            _update(file.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            row.setdefault("_step", record.history.step.num)
            file.rows.append({key: value for key, value in row.items() if key == "_step" or key[0] != "_"})
        elif kind == "summary":
            _update(file.summary, record.summary.update)
        elif kind == "metric":
            file.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            file.exit_code = record.exit.exit_code
    file.config.pop("_wandb", None)
    return file


def read_run(run_dir: Path) -> WandbFile:
    """All segments of a directory's last run as one: rows in order, the latest config and summary win."""
    segments = [read(path) for path in find(run_dir)]
    whole = WandbFile()
    for part in segments:
        if part.id != segments[-1].id:
            continue
        part.rows = whole.rows + part.rows
        part.summary = whole.summary | part.summary
        part.metrics = whole.metrics | part.metrics
        whole = part
    return whole


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        # a slash inside a name is part of it; nesting comes as a path of its own
        *path, last = list(item.nested_key) or [item.key]
        node = target
        for step in path:
            node = node.setdefault(step, {})
        node[last] = json.loads(item.value_json)
