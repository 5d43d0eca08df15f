"""Read the runs of an experiment's folder, each once, and sort them into groups that may share a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.report.grouping import canonical, comparable, inserting_groups, settings, swept_value
from acmix_exp.report.planned import start
from acmix_exp.report.records import ArmRuns, Group, Record, Result
from acmix_exp.run.directory import FILES, Run, runs_in
from acmix_exp.yolo.families import FAMILIES

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast
# Rows come in this order, then those with one block before those with several, then by name.
FIRST_ARMS = (
    "baseline",
    "identity",
    "no_attention",
    "join",
    "conv3x3",
    "conv3x3_matched",
    "conv",
    "attention",
    "mixed",
)
GENERATIONS = {name: place for place, name in enumerate(FAMILIES)}  # the order of swept models

Signature = tuple[tuple[int, int] | None, ...]
_records: dict[Path, tuple[Signature, Record]] = {}


def read(folder: Path) -> list[Record]:
    """Every run of a folder, by name. A run whose files are as when this process last read them is not read again."""
    return [_cached(run) for run in runs_in(folder)]


def _cached(run: Run) -> Record:
    path = run.path.absolute()
    signature = tuple(map(_size_and_time, (path / name for name in (*FILES, "history.csv", OUTCOMES))))
    known = _records.get(path)
    # A status "running" also depends on whether its process is alive.
    if known is None or known[0] != signature or known[1].status.get("status") == "running":
        known = _records[path] = (signature, _read(run))
    return known[1]


def _sampling(record: Record) -> Any:
    """The protocol by which a run drew its samples; 1 before version 0.2, which did not state it."""
    return record.identity.get("sampling", 1)


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def collect(folder: Path) -> tuple[list[Group], list[str]]:
    """The groups of a folder's runs, and a sentence for each run that has to be left out."""
    records = read(folder)
    kept = [record for record in records if record.fault is None]
    keys = list(dict.fromkeys(key for record in kept for key in record.swept))
    groups = []
    for members, folds in comparable(kept, keys):
        plain = [record for record in members if not record.inserts]
        for inserting in inserting_groups(members, keys) or [[]]:
            groups.append(_group([*plain, *inserting], keys, folds))
            if len({_sampling(record) for record in kept}) > 1:
                groups[-1].settings["sampling"] = _sampling(members[0])
    return groups, [f"{record.name} is left out: {record.fault}" for record in records if record.fault]


def _read(run: Run) -> Record:
    """Read a run. If config or identity cannot be read, it cannot be compared, and ``fault`` says why."""
    fault, config, seed = None, {}, -1
    try:
        config = yaml.load((run.path / "config.yaml").read_text(encoding="utf-8"), LOADER)
        seed, _, _ = int(config["seed"]), config["arm"]["insert"], config["model"]["pretrained"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        fault, config = _fault(run, "config.yaml"), {}
    provenance = run.provenance()
    if not fault and not provenance.get("identity"):
        fault = _fault(run, "provenance.json")
    status, state = run.status() or {}, run.state()
    content = run.result() if state == "done" else None
    return Record(
        run=run,
        arm=str((content or status).get("arm") or run.name.rsplit("-s", 1)[0]),
        seed=seed,
        swept={**status.get("swept", {}), **(content or {}).get("swept", {})},
        config=config,
        status=status,
        state=state,
        error=None if content else run.broken() or status.get("error"),
        result=_result(content) if content else None,
        provenance=provenance,
        fault=fault,
        diverged_attempts=run.diverged_attempts(),
    )


def _fault(run: Run, name: str) -> str:
    return f"its {name} {'cannot be read' if (run.path / name).exists() else 'is missing'}"


def _result(content: dict[str, Any]) -> Result:
    metrics = content["metrics"]
    key = "top1" if "top1" in metrics else "map50_95"
    last, best = content.get("val_last") or {}, content.get("val_best") or {}
    classes = metrics.get("per_class") or {}
    heads = metrics["heads"] if isinstance(metrics.get("heads"), dict) else {}
    of_heads = {name: _number(part.get("map50_95")) for name, part in heads.items() if isinstance(part, dict)}
    return Result(
        map50_95=_number(metrics.get("map50_95")),
        map50=_number(metrics.get("map50")),
        precision=_number(metrics.get("precision")),
        recall=_number(metrics.get("recall")),
        per_class={name: value[key] for name, value in classes.items() if value.get(key) is not None},
        split=metrics.get("split"),
        checkpoint=metrics.get("checkpoint"),
        val_last=last.get(key),
        val_best=best.get(key),
        best_epoch=best.get("epoch"),
        imgsz=content.get("imgsz"),
        cost=content["cost"],
        head=str(metrics["head"]) if metrics.get("head") in of_heads else None,
        nms=of_heads.get("nms"),
        nms_free=of_heads.get("nms_free"),
        top1=_number(metrics.get("top1")),
        top5=_number(metrics.get("top5")),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _group(records: Sequence[Record], keys: Sequence[str], folds: int) -> Group:
    values = {record: {key: swept_value(record, key) for key in keys} for record in records}
    used = [key for key in keys if any(values[record][key] is not None for record in records)]
    variants: dict[str, set[Any]] = {}
    for record in records:
        variants.setdefault(record.arm, set()).add(record.variant)
    rows: dict[str, ArmRuns] = {}
    for record in sorted(records, key=start):
        arm = record.arm
        if len(variants[arm]) > 1:  # an arm that was redefined between commands
            arm += f" ({'-'.join(str(part) for part in record.variant if part)})"
        swept = {key: values[record][key] for key in used}
        row = rows.setdefault(canonical([arm, swept]), ArmRuns(arm, swept))
        if record.result is None and not record.diverged:
            row.unfinished.append(record)
        elif record.seed in row.runs or record.seed in row.diverged:
            row.repeated.append(record)
        else:
            (row.diverged if record.diverged else row.runs)[record.seed] = record
    return Group(settings(records, keys, folds), used, sorted(rows.values(), key=_order), folds)


def _order(row: ArmRuns) -> tuple[Any, ...]:
    first = FIRST_ARMS.index(row.arm) if row.arm in FIRST_ARMS else len(FIRST_ARMS)
    swept = [
        (0, value, "") if isinstance(value, (int, float)) else (1, GENERATIONS.get(str(value), 0), str(value))
        for value in row.swept.values()
    ]
    inserted = max((len(record.parts) for record in row.all_records if record.has_own_places), default=0)
    return first, inserted, row.arm, swept
