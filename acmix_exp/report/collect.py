"""The runs of an experiment's folder, sorted into tables whose rows may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.config import IDENTITY
from acmix_exp.experiment.store import Run, runs_in

# Rows come in this order, then by name.
FIRST_ARMS = ("baseline", "identity", "conv3x3", "conv", "attention", "mixed")


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
    def variant(self) -> tuple[Any, ...]:
        """What an inserting arm is about: block and path."""
        block = self.identity.get("block") or {}
        return (block.get("name"), block.get("path")) if self.inserts else ()

    @property
    def inserts(self) -> bool:
        return bool(self.config["arm"]["insert"])

    @property
    def control(self) -> bool:
        """Whether it brings a block of its own, and so shares no block option with the other inserting arms."""
        return self.inserts and bool(self.config["arm"].get("control"))


@dataclass(frozen=True)
class Row:
    """An arm and one combination of swept values, with its finished runs by seed."""

    arm: str
    swept: dict[str, Any]
    runs: dict[int, Record] = field(default_factory=dict)
    unfinished: list[Record] = field(default_factory=list)
    repeated: list[Record] = field(default_factory=list)  # of a seed that has a run already


@dataclass(frozen=True)
class Group:
    """Runs that differ in arm, seed and swept keys alone; ``settings`` says what they have in common."""

    settings: dict[str, Any]
    swept_keys: list[str]
    rows: list[Row]


def collect(folder: Path) -> tuple[list[Group], list[str]]:
    """Read a folder of runs; also the names of the directories whose config can't be read."""
    read = {run.name: _read(run) for run in runs_in(folder)}
    records = [record for record in read.values() if record]
    keys = list(dict.fromkeys(key for record in records for key in record.swept))
    contexts: dict[str, list[Record]] = {}
    for record in records:
        contexts.setdefault(_canonical(_context(record, keys)), []).append(record)
    groups = []
    for members in contexts.values():
        plain = [record for record in members if not record.inserts]
        groups += [_group([*plain, *table], keys) for table in _tables(members, keys) or [[]]]
    return groups, [name for name, record in read.items() if record is None]


def _read(run: Run) -> Record | None:
    try:
        config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
        seed, _ = int(config["seed"]), config["arm"]["insert"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    status = run.status() or {"status": "failed", "error": "status.json is corrupt"}
    result = run.result() if run.is_done() else None
    if result is None:
        status = {**status, "status": run.state()}
    arm = (result or status).get("arm") or run.name.split(f"-s{seed}-")[0]
    swept = {**status.get("swept", {}), **(result or {}).get("swept", {})}
    return Record(run, arm, seed, swept, config, status, result, run.provenance())


def _group(records: Sequence[Record], keys: Sequence[str]) -> Group:
    values = {record.run: {key: swept_value(record, key) for key in keys} for record in records}
    used = [key for key in keys if any(values[record.run][key] is not None for record in records)]
    variants: dict[str, set[Any]] = {}
    for record in records:
        variants.setdefault(record.arm, set()).add(record.variant)
    rows: dict[str, Row] = {}
    for record in records:
        name = record.arm
        if len(variants[name]) > 1:  # one label, two meanings: an arm that was redefined between commands
            name += f" ({'-'.join(str(part) for part in record.variant if part)})"
        swept = {key: values[record.run][key] for key in used}
        row = rows.setdefault(_canonical([name, swept]), Row(name, swept))
        if record.result is None:
            row.unfinished.append(record)
        elif record.seed in row.runs:
            row.repeated.append(record)
        else:
            row.runs[record.seed] = record
    return Group(_settings(records, keys), used, sorted(rows.values(), key=_order))


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
    if root.split(".")[0] == "block" and (record.control or not record.inserts):
        return None
    if root.startswith("model.placement") and not record.inserts:
        return None
    node: Any = record.config
    for part in root.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node.get("name") if isinstance(node, dict) else node  # of a group, its option's name


def _context(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """What every run of one table shares, the baseline included: identity but seed, block, placement, swept keys."""
    parts = {key: value for key, value in record.identity.items() if key not in ("seed", "block", "placement")}
    return _without(parts, keys)


def _inserted(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """What the inserting arms of one table share: placement, and the block less its name and path, the arms' own."""
    block = {key: value for key, value in (record.identity.get("block") or {}).items() if key not in ("name", "path")}
    placement = dict(record.identity.get("placement") or {})
    if "model.pretrained" in keys:
        placement.pop("zero_init", None)  # it follows from the weights
    return _without({"block": block, "placement": placement}, keys)


def _tables(members: Sequence[Record], keys: Sequence[str]) -> list[list[Record]]:
    """The inserting records by what they share; a control stands in every table whose placement is its own."""
    tables: dict[str, list[Record]] = {}
    ordered = sorted(members, key=lambda record: (record.control, record.variant[:1] == (IDENTITY,)))
    for record in ordered:
        fitting = [table for table in tables.values() if record.control and _same_sites(record, table[0], keys)]
        for table in fitting:
            table.append(record)
        if record.inserts and not fitting:
            tables.setdefault(_canonical(_inserted(record, keys)), []).append(record)
    return list(tables.values())


def _same_sites(control: Record, other: Record, keys: Sequence[str]) -> bool:
    """Whether a control belongs beside an arm: its placement is the same, less what plays no part for it."""
    mine, theirs = (_inserted(record, keys)["placement"] for record in (control, other))
    if control.identity["block"]["name"] == IDENTITY:
        mine, theirs = ({key: part[key] for key in part.keys() & {"mode", "sites"}} for part in (mine, theirs))
    return bool(mine == theirs)


def _without(parts: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A copy less the swept keys, given dotted (``block.head``) or as a group (``dataset``)."""
    copy: dict[str, Any] = json.loads(json.dumps(parts))
    for key in keys:
        path = key.replace("/", ".").removeprefix("model.") if "placement" in key else key
        *above, last = ("data" if path == "dataset" else path).split(".")
        node: Any = copy
        for part in above:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return copy


def _settings(records: Sequence[Record], keys: Sequence[str]) -> dict[str, Any]:
    """What the runs of a table have in common, for its heading; swept keys are left out."""
    done = [record for record in records if record.result]
    first, inserting = (done or list(records))[0], next((record for record in records if record.inserts), None)
    metrics = (first.result or {}).get("metrics", {})
    shared = _context(first, keys)
    return {
        "dataset": None if "dataset" in keys else first.provenance.get("dataset", {}).get("name"),
        "model": {key: value for key, value in shared.get("model", {}).items() if key != "pretrained"},
        **({} if "model.pretrained" in keys else {"pretrained": first.config["model"]["pretrained"]}),
        "train": shared.get("train", {}),
        "hardware": shared.get("hardware", {}),
        **({} if inserting is None else _inserted(inserting, keys)),
        "split": metrics.get("split"),
        "checkpoint": metrics.get("checkpoint"),
    }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
