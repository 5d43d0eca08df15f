"""Which runs share a table: the rows of one differ only in arm, seed and swept keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acmix_exp.config import IDENTITY
from acmix_exp.data.headline import NO_TEST
from acmix_exp.report.language import tr
from acmix_exp.report.recorded_words import JOINED
from acmix_exp.report.records import Record
from acmix_exp.slot_rules import MAPS, SLOTS
from acmix_exp.yolo.families import title_of

NETWORK = {"model", *(f"model.{key}" for key in ("family", "scale", "variant", "yaml"))}  # swept keys
MODES = (*MAPS, *SLOTS)  # of placements, in the order of their tables
DATA = "dataset"  # the group whose content counts in a run's identity, as "data"


def swept_value(record: Record, key: str) -> Any:
    """The run's value of a swept key, as recorded or from its config; None if the run does not depend on it.

    Lists and objects are text without spaces and quotes, however they were written on the command line.
    """
    if key in record.swept:
        return _plain(record.swept[key])
    path = key.replace("/", ".")
    if record.has_own_places and (path.startswith("model.placement") or path.split(".")[0] == "block"):
        return None
    if path.split(".")[0] == "block" and (not record.inserts or (record.control and not record.like)):
        return None
    if path.startswith("model.placement") and not record.inserts:
        return None
    node: Any = record.config
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict):  # the option of a config group
        return node.get("name") or node.get("family") or _plain(node)
    return _plain(node)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"[\s'\"]", "", value) if value[:1] in ("[", "{") else value
    return _override_text(value) if isinstance(value, (list, dict)) else value


def _override_text(value: Any) -> str:
    """As in an override: ``[a,1]``, ``{a:1}``, ``null`` and ``true``."""
    if isinstance(value, list):
        return f"[{','.join(map(_override_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_override_text(part)}' for key, part in value.items())}}}"
    return str(value) if isinstance(value, str) else json.dumps(value)


def comparable(records: Sequence[Record], keys: Sequence[str]) -> Iterator[tuple[list[Record], int]]:
    """Records that are alike but for arm, seed, block, placement and swept keys, and the number of their folds.

    Runs on different data are apart, unless the seed alone chooses the data: then each seed is a fold.
    """
    for members in _grouped(records, lambda record: _context(record, [*keys, DATA])):
        if DATA in keys:
            yield members, 0
        elif folds := _folds(members):
            yield members, folds
        else:
            yield from ((part, 0) for part in _grouped(members, lambda record: record.identity.get("data")))


def _folds(records: Sequence[Record]) -> int:
    """The number of data sets if each seed has its own, the same for every arm and of the same classes; else 0."""
    by_seed: dict[int, set[str]] = {}
    for record in records:
        by_seed.setdefault(record.seed, set()).add(str(record.identity.get("data")))
    fingerprints = set().union(*by_seed.values())
    classes = {canonical((record.provenance.get("dataset") or {}).get("names")) for record in records}
    one_per_seed = len(fingerprints) == len(by_seed) and all(len(used) == 1 for used in by_seed.values())
    return len(by_seed) if one_per_seed and len(by_seed) > 1 and len(classes) == 1 else 0


def _grouped(records: Sequence[Record], key: Any) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(canonical(key(record)), []).append(record)
    return list(groups.values())


def _context(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """The settings that all runs of a table share: the identity without seed, what is inserted, and ``keys``."""
    not_shared = ("seed", "block", "placement", "insertions")
    parts = {key: value for key, value in record.identity.items() if key not in not_shared}
    if "model.pretrained" in keys and "train" in parts:  # it follows from the weights
        extra = {key: value for key, value in (parts["train"].get("extra") or {}).items() if key != "warmup_bias_lr"}
        parts["train"] = {**parts["train"], "extra": extra}
    return _without(parts, keys)


def _inserted(record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """The settings that all arms with a block share: placement, and options of the block but those in its label."""
    options = record.like or record.identity.get("block") or {}
    block = {key: value for key, value in options.items() if key not in ("name", "path", "layer")}
    placement = dict(record.identity.get("placement") or {})
    if "sites" in placement and not NETWORK.isdisjoint(keys):  # other networks have a group's sites in other places
        configured = record.config["model"]["placement"]["sites"]
        configured = ["every site" if site == "attention" else str(site) for site in configured]
        placement["sites"] = configured or placement["sites"]
    if not {"block.form", "block.position", "block.offsets"}.isdisjoint(keys):
        block.pop("position_tables", None)  # it follows from these options
    if "model.pretrained" in keys:
        placement.pop("zero_init", None)  # it follows from the weights
        placement.pop("bias_warmup", None)
    return _without({"block": block, "placement": placement}, keys)


def inserting_groups(members: Sequence[Record], keys: Sequence[str]) -> list[list[Record]]:
    """The inserting records by what they share; a control is in each group that has its placement.

    Different blocks share a table, each with its own options. A block that was run with several sets of options has
    a table for each set, because one row cannot be both. Arms with insertions of their own have a table of their own.
    Tables stand in the order of the slots.
    """
    own_places = [record for record in members if record.has_own_places]
    members = [record for record in members if not record.has_own_places]
    arms = [record for record in members if record.inserts and not record.control]
    shared = {record: _inserted(record, keys) for record in members if record.inserts}
    options: dict[str, set[str]] = {}  # of each block at each placement
    for record in arms:
        block_and_placement = canonical([record.block, shared[record]["placement"]])
        options.setdefault(block_and_placement, set()).add(canonical(shared[record]["block"]))

    def shared_by_table(record: Record) -> list[Any]:
        block, placement = shared[record]["block"], shared[record]["placement"]
        several = len(options[canonical([record.block, placement])]) > 1
        return [placement, record.block, block] if several else [placement]

    groups = _grouped(arms, shared_by_table)
    controls = [record for record in members if record.control]
    for record in sorted(controls, key=lambda record: record.block[0] == IDENTITY):
        fitting = [
            group
            for group in groups
            if _same_sites(record, shared[record], shared[group[0]]) and _has_like(record, group, shared)
        ]
        for group in fitting:
            group.append(record)
        if not fitting:
            groups.append([record])
    groups.sort(key=lambda group: MODES.index(shared[group[0]]["placement"].get("mode", MODES[0])))
    return [*groups, own_places] if own_places else groups


def _same_sites(control: Record, own: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a control belongs to the table of an arm: placements agree in all keys that the control depends on."""
    first, second = own["placement"], other["placement"]
    nothing_joined = second.get("mode") in SLOTS and "norm" not in second
    if control.block[0] == IDENTITY or nothing_joined:
        first, second = ({key: part[key] for key in part.keys() & {"mode", "sites"}} for part in (first, second))
    return bool(first == second)


def _has_like(control: Record, group: Sequence[Record], shared: Mapping[Record, Any]) -> bool:
    """Whether a table has the block that a control matches, with its options; true of any other control."""
    like, arms = control.like, [record for record in group if not record.control]
    own = (like.get("name"), like.get("target")), shared[control]["block"]
    return not like or not arms or any((record.block, shared[record]["block"]) == own for record in arms)


def _without(parts: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """A copy without the swept keys, given dotted (``block.head``) or as a group (``dataset``)."""
    copy: dict[str, Any] = json.loads(json.dumps(parts))
    for key in keys:
        path = key.replace("/", ".").removeprefix("model.") if "placement" in key else key
        path = "model.name" if path == "model.family" else path  # as an identity calls it
        *above, last = ("data" if path == DATA else path).split(".")
        node: Any = copy
        for part in above:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return copy


def settings(records: Sequence[Record], keys: Sequence[str], folds: int) -> dict[str, Any]:
    """The common settings of the runs of a table, for its heading, without swept keys."""
    done = [record for record in records if record.result]
    first, inserting = (done or list(records))[0], next((record for record in records if record.inserts), None)
    shared = _context(first, keys)
    inserted = {} if inserting is None or inserting.has_own_places else _inserted(inserting, keys)
    if "block" in inserted and len({record.block for record in records if record.inserts and not record.control}) > 1:
        inserted.pop("block")  # each row has its own
    return {
        "dataset": None if DATA in keys else _dataset(records if folds else [first], folds),
        "model": {key: value for key, value in shared.get("model", {}).items() if key != "pretrained"},
        **({} if "model.pretrained" in keys else {"pretrained": first.config["model"]["pretrained"]}),
        "train": shared.get("train", {}),
        "hardware": shared.get("hardware", {}),
        **inserted,
        "split": first.result.split if first.result else None,
        "checkpoint": first.result.checkpoint if first.result else None,
        **({"test_not_scored": reason} if (reason := _test_not_scored(first)) else {}),
    }


def _test_not_scored(record: Record) -> str:
    """Why the test split of the data set is not scored on; empty if it is, or if there is none."""
    reason = ((record.provenance.get("dataset") or {}).get("headline") or {}).get("reason", "")
    return "" if reason == NO_TEST else reason


def _dataset(records: Sequence[Record], folds: int) -> Any:
    """The data set's name; of folds all names and their number."""
    names = [(record.provenance.get("dataset") or {}).get("name") for record in records]
    return f"{', '.join(sorted(set(map(str, names))))} ({folds} folds)" if folds else names[0]


FORMATS = {
    "epochs": "{value} epochs",
    "imgsz": "{value} px",
    "batch": "batch {value}",
    "optimizer": "{value}",
    "lr0": "lr0 {value}",
}


def heading(settings: dict[str, Any]) -> str:
    """The common settings of the rows of a table, in one line."""
    model, train, hardware = settings["model"], settings["train"], settings["hardware"]
    parts = [title_of(model) if "name" in model else tr("several models")]
    if "pretrained" in settings:
        weights = settings["pretrained"]
        name = Path(str(weights)).name
        parts.append(tr("from {weights}", weights=name) if weights else tr("from scratch"))
    if settings["dataset"]:
        parts.append(tr("on {dataset}", dataset=settings["dataset"]))
    details = [tr(text, value=train[key]) for key, text in FORMATS.items() if key in train]
    details += [f"{key} {value}" for key, value in (train.get("extra") or {}).items()]
    if {"precision", "device"} <= hardware.keys():
        ranks = f"{hardware['gpus_per_run']} x " if "gpus_per_run" in hardware else ""
        device = f"{ranks}{hardware['device']}"
        details.append(tr("{precision} on {device}", precision=hardware["precision"], device=device))
    if "sampling" in settings:  # of a folder that has runs of several
        details.append(tr("samples drawn by protocol {number}", number=settings["sampling"]))
    if settings["split"]:
        reason = settings.get("test_not_scored")
        scored = tr("{checkpoint} on {split}", checkpoint=settings["checkpoint"], split=settings["split"])
        details.append(f"{scored}{f' ({reason})' if reason else ''}")
    return f"{' '.join(parts)}, {', '.join(details)}{_inserted_text(settings)}"


def _inserted_text(settings: dict[str, Any]) -> str:
    """The common settings of the arms with a block: its options and its placement."""
    block, placement = settings.get("block") or {}, settings.get("placement") or {}
    said = (("backend", "auto"), ("of", "attention"))
    text = ", ".join(f"{key} {value}" for key, value in block.items() if (key, value) not in said)
    if "sites" in placement:
        text += f" {JOINED.get(str(placement.get('mode')), 'after')} {', '.join(placement['sites'])}"
        usual = {"norm": True, "act": True, "residual": True, "zero_init": False}
        text += "".join(f", {key} {placement[key]}" for key in usual if placement.get(key, usual[key]) != usual[key])
    return tr("; blocks: {settings}", settings=text.strip()) if text else ""


def canonical(value: Any) -> str:
    """Equal values as equal text."""
    return json.dumps(value, sort_keys=True, default=str)
