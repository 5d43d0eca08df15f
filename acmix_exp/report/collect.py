"""The runs of an experiment's folder, sorted into tables whose rows may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.experiment.store import Run, runs_in

# Rows come in this order, then by name.
FIRST_ARMS = ("baseline", "identity", "conv3x3", "conv", "attention", "mixed")

# A swept group is looked up by its name in a run that was made without that axis.
GROUP_KEYS = {
    "model/placement": "model.placement.name",
    "block": "block.name",
    "dataset": "dataset.name",
    "model": "model.name",
}


# Where the run's identity keeps what the command line calls otherwise.
IDENTITY_KEYS = {"model/placement": "placement", "dataset": "data"}


@dataclass(frozen=True)
class Record:
    """One run directory as read: ``result`` is None where it is not done."""

    run: Run
    arm: str
    seed: int
    swept: dict[str, Any]
    config: dict[str, Any]
    status: dict[str, Any]
    result: dict[str, Any] | None
    provenance: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        return dict(self.provenance.get("identity") or {})

    @property
    def inserts(self) -> bool:
        return bool(self.config["arm"]["insert"])


@dataclass(frozen=True)
class Row:
    """An arm and one combination of swept values, with its finished runs by seed."""

    arm: str
    swept: dict[str, Any]
    runs: dict[int, Record]
    unfinished: list[Record]


@dataclass(frozen=True)
class Group:
    """Runs that differ in arm, seed and swept keys alone; ``settings`` says what they have in common."""

    settings: dict[str, Any]
    swept_keys: list[str]
    rows: list[Row]


def collect(folder: Path) -> list[Group]:
    """Read a folder of runs. A run that can't be read counts as unfinished, never as absent."""
    records = [record for run in runs_in(folder) if (record := _read(run))]
    keys = list(dict.fromkeys(key for record in records for key in record.swept))
    contexts: dict[str, list[Record]] = {}
    for record in records:
        contexts.setdefault(_canonical(_context(record, keys)), []).append(record)
    groups = []
    for members in contexts.values():
        plain = [record for record in members if not record.inserts]
        tables: dict[str, list[Record]] = {}
        for record in members:
            if record.inserts:
                tables.setdefault(_canonical(_inserted(record, keys)), []).append(record)
        for table in tables.values() or [[]]:
            groups.append(_group([*plain, *table], keys))
    return groups


def _read(run: Run) -> Record | None:
    try:
        config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
        seed = int(config["seed"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    status = run.status() or {"status": "failed", "error": "status.json is corrupt"}
    result = run.result() if run.is_done() else None
    arm = (result or status).get("arm") or run.name.split(f"-s{seed}-")[0]
    swept = {**status.get("swept", {}), **(result or {}).get("swept", {})}
    return Record(run, arm, seed, swept, config, status, result, run.provenance())


def _group(records: Sequence[Record], keys: Sequence[str]) -> Group:
    values = {record.run: {key: swept_value(record, key) for key in keys} for record in records}
    used = [key for key in keys if any(values[record.run][key] is not None for record in records)]
    rows: dict[str, Row] = {}
    for record in records:
        swept = {key: values[record.run][key] for key in used}
        row = rows.setdefault(_canonical([record.arm, swept]), Row(record.arm, swept, {}, []))
        if record.result is None:
            row.unfinished.append(record)
        else:
            row.runs[record.seed] = record
    return Group(_settings(records[0]), used, sorted(rows.values(), key=_order))


def _order(row: Row) -> tuple[Any, ...]:
    first = FIRST_ARMS.index(row.arm) if row.arm in FIRST_ARMS else len(FIRST_ARMS)
    numbers = [
        (0, value, "") if isinstance(value, (int, float)) else (1, 0, str(value)) for value in row.swept.values()
    ]
    return (first, row.arm, numbers)


def swept_value(record: Record, key: str) -> Any:
    """The run's value of a swept key: as recorded, else from its config; None where it does not depend on it."""
    if key in record.swept:
        return record.swept[key]
    root = key.replace("/", ".")
    if not record.inserts and (root.split(".")[0] == "block" or root.startswith("model.placement")):
        return None
    node: Any = record.config
    for part in GROUP_KEYS.get(key, root).split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return None if isinstance(node, dict) else node


def _context(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """What every run of one table shares, the baseline included: identity but seed, block, placement, swept keys."""
    parts = {key: value for key, value in record.identity.items() if key not in ("seed", "block", "placement")}
    return _without(parts, keys)


def _inserted(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """What the inserting arms of one table share: placement, and the block less its name and path, the arms' own."""
    block = {key: value for key, value in (record.identity.get("block") or {}).items() if key not in ("name", "path")}
    return _without({"block": block, "placement": record.identity.get("placement")}, keys)


def _without(parts: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A copy less the swept keys, given dotted (``block.head``) or as a group (``dataset``)."""
    copy: dict[str, Any] = json.loads(json.dumps(parts))
    for key in keys:
        *path, last = IDENTITY_KEYS.get(key, key.removeprefix("model.") if "placement" in key else key).split(".")
        node: Any = copy
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return copy


def _settings(record: Record) -> dict[str, Any]:
    config = record.config
    metrics = (record.result or {}).get("metrics", {})
    return {
        "dataset": record.provenance.get("dataset", {}).get("name") or config["dataset"]["name"],
        "model": f"{config['model']['name']}{config['model']['scale']}",
        "pretrained": config["model"]["pretrained"],
        "epochs": config["train"]["epochs"],
        "imgsz": config["train"]["imgsz"],
        "batch": config["train"]["batch"],
        "optimizer": config["train"]["optimizer"],
        "lr0": config["train"]["lr0"],
        "split": metrics.get("split"),
        "checkpoint": metrics.get("checkpoint"),
    }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
