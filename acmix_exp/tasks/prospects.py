"""What the planned seeds of a command can and cannot show: the first line of ``task=train`` and ``task=plan``."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acmix_exp.config import Config, ReportConfig, arm_label
from acmix_exp.files import read_json
from acmix_exp.insertions import is_identity
from acmix_exp.report import sentences
from acmix_exp.report.sample_size import RUN_TO_DELTA, detectable, pooled
from acmix_exp.report.seed_plans import plan_line
from acmix_exp.report.sign_flips import seeds_needed
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.planning import Plan, swept_keys, swept_values
from acmix_exp.tasks.looks import is_auto, looks_of

# A row of the table by its arm and its swept values, those that it depends on; with its seeds.
Row = tuple[str, tuple[tuple[str, str], ...]]
Rows = dict[Row, set[int]]


def first_line(plan: Plan) -> str:
    """What the seeds of the command, and those that the folder's last summary has of the same rows, can show."""
    if is_auto(plan):
        return plan_line(looks_of(plan))
    config = plan.cells[0].config
    reference, known = config.report.reference, last_summary(plan.folder)
    rows = rows_of((cell.label, cell.swept, cell.config) for cell in plan.cells)
    for row in rows.keys() & known.rows.keys():
        rows[row] |= known.rows[row]
    if all(row[0] != reference for row in rows):  # it was trained before
        rows |= {row: seeds for row, seeds in known.rows.items() if row[0] == reference}
    seeds = len(set.intersection(*rows.values())) if rows else 0
    family = comparisons({*rows, *known.compared}, config.report)
    if not family:
        return sentences.nothing_compared(reference)
    fewest = seeds_needed()
    sd = config.sd * RUN_TO_DELTA if config.sd else pooled(known.deltas)
    found = detectable(sd, max(seeds, fewest), family) if sd else None
    return sentences.prospect(seeds, fewest, found)


def rows_of(cells: Iterable[tuple[str, Mapping[str, Any], Config]], *, harness: bool = False) -> Rows:
    """The rows of the table that cells will be. harness: those of identity, which is not compared, too."""
    rows: Rows = {}
    for label, swept, config in cells:
        if harness or not is_identity(config):
            rows.setdefault(_row(label, swept), set()).add(config.seed)
    return rows


def rows_of_command(cells: Sequence[Composed], *, harness: bool = False) -> Rows:
    """As rows_of, of a command whose data sets are not read."""
    keys = swept_keys(cells)
    effective = [(arm.apply(cell.config), cell.overrides) for cell in cells]
    labelled = ((arm_label(config), swept_values(config, keys, texts), config) for config, texts in effective)
    return rows_of(labelled, harness=harness)


def comparisons(rows: Collection[Row], config: ReportConfig) -> int:
    """How many comparisons the rows will be: with the reference, or with ``report.pairs=all`` between all of them too.

    Rows are compared that differ in one thing, their arm or one swept value (report/comparison_families.py).
    """
    others = [row for row in rows if row[0] != config.reference]
    if config.pairs != "all":
        return len(others)
    references = [row for row in rows if row[0] == config.reference] or [(config.reference, ())]
    return sum(_differences(*pair) == 1 for pair in itertools.combinations([*references, *others], 2))


def _differences(first: Row, second: Row) -> int:
    """In how many things two rows differ; an axis that one of them does not depend on is none."""
    values = dict(second[1])
    return (first[0] != second[0]) + sum(values.get(key, value) != value for key, value in first[1])


@dataclass(frozen=True)
class Summary:
    """What the summary.json of a folder says: rows with seeds, those that are compared, and their deltas."""

    rows: Rows = field(default_factory=dict)
    compared: list[Row] = field(default_factory=list)
    deltas: list[list[float]] = field(default_factory=list)


def last_summary(folder: Path) -> Summary:
    """Of a folder of any size, from one file; empty if there is none that can be read."""
    summary = Summary()
    try:
        for table in (read_json(folder / "summary.json") or {}).get("tables", []):
            for row in table["rows"]:
                name = _row(row["arm"], {key: row[key] for key in table["swept_keys"]})
                summary.rows[name] = {int(value["seed"]) for value in row["values"]}
                if row["in_family"]:
                    summary.compared.append(name)
                    summary.deltas.append([float(each["delta"]) for each in row["deltas"]])
    except (KeyError, TypeError, ValueError, AttributeError):
        return Summary()
    return summary


def _row(label: str, swept: Mapping[str, Any]) -> Row:
    return label, tuple((key, str(value)) for key, value in swept.items() if value is not None)
