"""What a table's reader must know beside its figures, in sentences: nothing is dropped or mixed without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from acmix_exp.config import CONV3X3, IDENTITY
from acmix_exp.report import statistics
from acmix_exp.report.records import Group, Record, Row

MOST_NAMES = 3


def origins(records: Sequence[Record]) -> list[str]:
    """Packages, commits and machines of which the runs have more than one, and uncommitted changes."""
    facts: dict[str, dict[str, str]] = {}
    for record in records:
        for kind, value in made_with(record.provenance):
            facts.setdefault(kind, {})[record.run.name] = value
    found = []
    for kind, values in facts.items():
        values = {record.run.name: values.get(record.run.name, "not recorded") for record in records}
        counts = Counter(values.values())
        if len(counts) > 1:
            parts = [f"{value} ({_members(values, value)})" for value, _ in counts.most_common()]
            found.append(f"The runs were made with more than one {kind}: {', '.join(parts)}")
    dirty = {r.run.name: "dirty" for r in records if (r.provenance.get("git") or {}).get("dirty")}
    if dirty:
        found.append(f"Made from a checkout with changes that are in no commit: {_members(dirty, 'dirty')}")
    return found


def made_with(provenance: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Kind and value of what a run was made with; the changes that its checkout had are told by their hash."""
    for name, version in (provenance.get("versions") or {}).items():
        yield f"version of {name}", str(version)
    git = provenance.get("git") or {}
    if git.get("commit"):
        changes = f" with changes {str(git['diff_sha256'])[:8]}" if git.get("diff_sha256") else ""
        yield "commit", f"{str(git['commit'])[:8]}{changes}"
    hardware = provenance.get("hardware") or {}
    if hardware:
        yield "kind of machine", str(hardware.get("gpu") or hardware.get("cpu"))


def _members(values: dict[str, str], value: str) -> str:
    """The runs with a value: by name where they are few."""
    names = [name for name, own in values.items() if own == value]
    return ", ".join(names) if len(names) <= MOST_NAMES else count(len(names), "run")


def listed(names: Iterable[str]) -> str:
    """The first few by name, for who has to look at them, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def compared(row: Row, plain: Row | None) -> str:
    """What to say of the seeds that both rows have; empty where there is none."""
    equal, without, differing = 0, [], []
    for seed in sorted(row.runs.keys() & plain.runs.keys()) if plain else []:
        assert plain is not None
        pair = row.runs[seed], plain.runs[seed]
        mine, theirs = map(_history, pair)
        if min(len(mine), len(theirs)) < max(map(_epochs, pair)):
            without.append(str(seed))
        elif mine == theirs:
            equal += 1
        else:
            differing.append(f"{seed} ({', '.join(_excuses(*pair)) or 'nothing on record excuses it'})")
    parts = [f"its losses and metrics of every epoch equal the baseline's in {count(equal, 'seed')}"] if equal else []
    parts += [f"its curves are NOT the baseline's for seed {', '.join(differing)}"] if differing else []
    parts += [f"no history to compare for seed {', '.join(without)}"] if without else []
    return f": {'; '.join(parts)}" if parts else ""


def _history(record: Record) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record.run.history()]


def _epochs(record: Record) -> int:
    """How many rows its history must have: no run here ends early."""
    epochs = (record.identity.get("train") or {}).get("epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def _excuses(mine: Record, theirs: Record) -> list[str]:
    found = [f"{record.arm} was resumed" for record in (mine, theirs) if record.status.get("resumed")]
    own, other = (dict(made_with(record.provenance)) for record in (mine, theirs))
    found += [f"another {kind}" for kind in own if kind in other and own[kind] != other[kind]]
    if "cuda" in (_device(mine), _device(theirs)):
        found.append("a GPU's rounding")
    return found


def _device(record: Record) -> Any:
    return (record.identity.get("hardware") or {}).get("device")


def notes(group: Group, rows: list[dict[str, Any]], reference: str, family: int) -> list[str]:
    """All notes of a table. ``rows`` are its summary rows, in the order of ``group.rows``."""
    return [
        *_claims(rows, reference, family),
        *_controls(group, rows),
        *_missing_cells(group),
        *(note for row in group.rows for note in _runs(group, row)),
        *_pairing(group),
        *origins([record for row in group.rows for record in row.runs.values()]),
    ]


def row_name(row: Row) -> str:
    """The arm with its swept values, as notes name it."""
    return " ".join([row.arm, *(f"{key}={value}" for key, value in row.swept.items() if value is not None)])


def _claims(rows: list[dict[str, Any]], reference: str, family: int) -> list[str]:
    if family:
        fewest = min(row["n_paired"] for row in rows if row["in_family"])
        return [
            f"A claim at 5 % over {count(family, 'comparison')} needs at least {statistics.seeds_needed(family)} "
            f"paired seeds; the fewest here are {fewest}."
        ]
    if all(row["arm"] == reference for row in rows) or any(row["n_paired"] for row in rows):
        return []
    if any(row["arm"] == reference for row in rows):
        return [f"No row has the swept values of {reference}, the reference, so there are no deltas."]
    missing = "add arm=baseline" if reference == "baseline" else f"report.reference={reference} names no row"
    return [f"There is no {reference} with these settings, so there are no deltas; {missing}."]


def _controls(group: Group, rows: list[dict[str, Any]]) -> list[str]:
    found = []
    stock = next((row for row in group.rows if row.arm == "baseline"), None)
    for row in group.rows:
        if row.block == IDENTITY:
            found.append(f"{row_name(row)} tests the harness and is no member of the family{compared(row, stock)}")
    sizes = {row["arm"]: row["parameters"] for row in rows if row["parameters"] is not None}
    plain = next((row.arm for row in group.rows if row.block == CONV3X3 and row.arm in sizes), None)
    blocks = {row.arm for row in group.rows if row.block not in (None, IDENTITY, CONV3X3)}
    if plain:
        gaps = [f"{sizes[plain] - sizes[arm]:+,d} against {arm}" for arm in sizes if arm in blocks]
        found += [f"{plain} differs in parameters: {', '.join(gaps)}"] if gaps else []
    elif _asked_for(group, CONV3X3) or (blocks and _is_stock_with_conv3x3(group.settings)):
        found.append(
            "conv3x3 in place of a bottleneck's own 3x3, without pretrained weights, is the baseline itself: the "
            "baseline's row is its row"
        )
    return found


def _asked_for(group: Group, arm: str) -> bool:
    """Whether a run was asked for under this arm's name too."""
    return any(arm in record.status.get("serves", []) for row in group.rows for record in row.runs.values())


def _is_stock_with_conv3x3(settings: dict[str, Any]) -> bool:
    from_scratch = "pretrained" in settings and not settings["pretrained"]
    return from_scratch and (settings.get("placement") or {}).get("mode") == "replace"


def _missing_cells(group: Group) -> list[str]:
    """Arms that lack a combination of swept values that another arm has."""
    found = []
    arms = dict.fromkeys(row.arm for row in group.rows)
    axes = {key: list(dict.fromkeys(row.swept[key] for row in group.rows)) for key in group.swept_keys}
    for arm in arms:
        mine = [row.swept for row in group.rows if row.arm == arm]
        used = [key for key in axes if any(swept[key] is not None for swept in mine)]
        wanted = product(*([value for value in axes[key] if value is not None] for key in used))
        have = {tuple(swept[key] for key in used) for swept in mine}
        for values in wanted:
            if values not in have:
                cell = " ".join(f"{key}={value}" for key, value in zip(used, values, strict=True))
                found.append(f"{arm} has no run with {cell}")
    return found


def _runs(group: Group, row: Row) -> list[str]:
    """Unfinished, lacking, resumed and repeated runs of a row, and what its pretrained weights gave."""
    name, found = row_name(row), []
    for record in row.unfinished:
        error = f": {record.status['error']}" if record.status.get("error") else ""
        found.append(f"{name} seed {record.seed} is {record.status['status']}{error}")
    seeds = {seed for other in group.rows for seed in other.runs}
    lacking = seeds - row.runs.keys() - {record.seed for record in row.unfinished}
    if lacking:
        found.append(f"{name} has no run of seed {_listed(lacking)}; deltas use the seeds in common")
    resumed = [seed for seed, record in row.runs.items() if record.status.get("resumed")]
    if resumed:
        found.append(f"{name} seed {_listed(resumed)} was interrupted and resumed, which is not bit-exact")
    if row.repeated:
        found.append(f"{name} has a second run of seed {_listed(r.seed for r in row.repeated)}, left out")
    first = next(iter(row.runs.values()), None)
    audit = first.provenance.get("transfer") if first and first.config["model"]["pretrained"] else None
    if audit:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in audit.items())
        found.append(f"{name}: tensors of the pretrained weights {counts} (by name in provenance.json)")
    return found


def _pairing(group: Group) -> list[str]:
    """Seeds are paired by what they drew, the first batches, of which every run keeps a hash."""
    found, without = [], []
    for seed in sorted({seed for row in group.rows for seed in row.runs}):
        records = [row.runs[seed] for row in group.rows if seed in row.runs]
        proofs = {record.run.name: record.provenance.get("seed_proof") for record in records}
        without += [name for name, proof in proofs.items() if proof is None and len(proofs) > 1]
        if len(set(proofs.values()) - {None}) > 1:
            found.append(f"seed {seed}: not all rows saw the same first batches, so its deltas are not paired")
    if without:
        found.append(f"The first batches were not recorded, so the pairing rests on the seed alone: {listed(without)}")
    return found


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
