"""The runs of an experiment's folder, sorted into tables whose rows may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.report.grouping import canonical, context, settings, swept_value, tables
from acmix_exp.report.records import Group, Record, Row
from acmix_exp.run.directory import Run, runs_in

__all__ = ["Group", "Record", "Row", "collect", "swept_value"]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast
# Rows come in this order, then by name.
FIRST_ARMS = ("baseline", "identity", "conv3x3", "conv", "attention", "mixed")


def collect(folder: Path) -> tuple[list[Group], list[str]]:
    """Read a folder of runs; also a sentence for each run that has to be left out."""
    read = [_read(run) for run in runs_in(folder)]
    records = [record for record in read if isinstance(record, Record)]
    keys = list(dict.fromkeys(key for record in records for key in record.swept))
    contexts: dict[str, list[Record]] = {}
    for record in records:
        contexts.setdefault(canonical(context(record, keys)), []).append(record)
    groups = []
    for members in contexts.values():
        plain = [record for record in members if not record.inserts]
        groups += [_group([*plain, *table], keys) for table in tables(members, keys) or [[]]]
    return groups, [sentence for sentence in read if isinstance(sentence, str)]


def _read(run: Run) -> Record | str:
    """The run, or why it is left out: without config and identity nothing says which runs it may be compared with."""
    try:
        config = yaml.load((run.path / "config.yaml").read_text(encoding="utf-8"), LOADER)
        seed, _, _ = int(config["seed"]), config["arm"]["insert"], config["model"]["pretrained"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return f"{run.name} is left out: its config.yaml {_fault(run, 'config.yaml')}"
    provenance = run.provenance()
    if not provenance.get("identity"):
        return f"{run.name} is left out: its provenance.json {_fault(run, 'provenance.json')}"
    status = run.status() or {}
    result = run.result() if run.is_done() else None
    if result is None:
        status = {**status, "status": run.state(), "error": run.broken() or status.get("error")}
    arm = str((result or status).get("arm") or run.name.split(f"-s{seed}-")[0])
    swept = {**status.get("swept", {}), **(result or {}).get("swept", {})}
    return Record(run, arm, seed, swept, config, status, result, provenance)


def _fault(run: Run, name: str) -> str:
    return "can't be read" if (run.path / name).exists() else "is missing"


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
        row = rows.setdefault(canonical([name, swept]), Row(name, swept))
        if record.result is None:
            row.unfinished.append(record)
        elif record.seed in row.runs:
            row.repeated.append(record)
        else:
            row.runs[record.seed] = record
    return Group(settings(records, keys), used, sorted(rows.values(), key=_order))


def _order(row: Row) -> tuple[Any, ...]:
    first = FIRST_ARMS.index(row.arm) if row.arm in FIRST_ARMS else len(FIRST_ARMS)
    numbers = [
        (0, value, "") if isinstance(value, (int, float)) else (1, 0, str(value)) for value in row.swept.values()
    ]
    return (first, row.arm, numbers)
