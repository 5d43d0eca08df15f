"""What the runs of one table share: what may differ between its rows is arm, seed and swept keys alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from acmix_exp.config import IDENTITY
from acmix_exp.report.records import Record


def swept_value(record: Record, key: str) -> Any:
    """The run's value of a swept key: as recorded, else from its config; None where it does not depend on it.

    Lists and objects as text without spaces and quotes, whichever way they were written on the command line.
    """
    if key in record.swept:
        return _plain(record.swept[key])
    root = key.replace("/", ".")
    if root.split(".")[0] == "block" and (record.control or not record.inserts):
        return None
    if root.startswith("model.placement") and not record.inserts:
        return None
    node: Any = record.config
    for part in root.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node["name"] if isinstance(node, dict) and "name" in node else _plain(node)  # of a group, its option's name


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"[\s'\"]", "", value) if value[:1] in ("[", "{") else value
    return _text(value) if isinstance(value, (list, dict)) else value


def _text(value: Any) -> str:
    """As in an override: ``[a,1]``, ``{a:1}``, ``null`` and ``true``."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_text(part)}' for key, part in value.items())}}}"
    return str(value) if isinstance(value, str) else json.dumps(value)


def context(record: Record, keys: Sequence[str]) -> dict[str, Any]:
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


def tables(members: Sequence[Record], keys: Sequence[str]) -> list[list[Record]]:
    """The inserting records by what they share; a control stands in every table whose placement is its own.

    Different blocks stand in one table, each with its own options. A block that is there with several sets of options
    has a table for each set, for one row can't be both.
    """
    arms = [record for record in members if record.inserts and not record.control]
    sets: dict[str, set[str]] = {}
    for record in arms:
        sets.setdefault(_block_at(record, keys), set()).add(canonical(_inserted(record, keys)))
    tables: dict[str, list[Record]] = {}
    for record in arms:
        shared = _inserted(record, keys)
        several = len(sets[_block_at(record, keys)]) > 1
        key = [shared["placement"], *([record.kind, shared["block"]] if several else [])]
        tables.setdefault(canonical(key), []).append(record)
    controls = [record for record in members if record.control]
    for record in sorted(controls, key=lambda record: record.kind[0] == IDENTITY):
        fitting = [table for table in tables.values() if _same_sites(record, table[0], keys)]
        for table in fitting:
            table.append(record)
        if not fitting:
            tables.setdefault(canonical(_inserted(record, keys)), []).append(record)
    return list(tables.values())


def _block_at(record: Record, keys: Sequence[str]) -> str:
    """Which block it is and where, whatever its options."""
    return canonical([record.kind, _inserted(record, keys)["placement"]])


def _same_sites(control: Record, other: Record, keys: Sequence[str]) -> bool:
    """Whether a control belongs beside an arm: its placement is the same, less what plays no part for it."""
    mine, theirs = (_inserted(record, keys)["placement"] for record in (control, other))
    if control.kind[0] == IDENTITY:
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


def settings(records: Sequence[Record], keys: Sequence[str]) -> dict[str, Any]:
    """What the runs of a table have in common, for its heading; swept keys are left out."""
    done = [record for record in records if record.result]
    first, inserting = (done or list(records))[0], next((record for record in records if record.inserts), None)
    metrics = (first.result or {}).get("metrics", {})
    shared = context(first, keys)
    inserted = {} if inserting is None else _inserted(inserting, keys)
    if len({record.kind for record in records if record.inserts and not record.control}) > 1:
        inserted.pop("block")  # each row has its own
    return {
        "dataset": None if "dataset" in keys else first.provenance.get("dataset", {}).get("name"),
        "model": {key: value for key, value in shared.get("model", {}).items() if key != "pretrained"},
        **({} if "model.pretrained" in keys else {"pretrained": first.config["model"]["pretrained"]}),
        "train": shared.get("train", {}),
        "hardware": shared.get("hardware", {}),
        **inserted,
        "split": metrics.get("split"),
        "checkpoint": metrics.get("checkpoint"),
    }


def canonical(value: Any) -> str:
    """Equal values as equal text."""
    return json.dumps(value, sort_keys=True, default=str)
