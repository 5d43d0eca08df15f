"""What a table's reader must know beside its figures, in sentences: nothing is dropped or mixed without a word."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from acmix_exp.config import CONV3X3, IDENTITY
from acmix_exp.report import statistics
from acmix_exp.report.collect import Group, Row
from acmix_exp.report.curves import compared
from acmix_exp.report.origins import count, listed, origins


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
