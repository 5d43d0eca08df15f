"""The summary files of an experiment's folder: summary.json, summary.csv, summary.md and table.tex."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acmix_exp.files import remove_temporaries, write_json, write_text
from acmix_exp.model_tasks import headline
from acmix_exp.report.columns import cells, columns, keys, numbers, pair_cells, pair_numbers
from acmix_exp.report.language import ENGLISH, speaking, tr
from acmix_exp.report.latex import latex
from acmix_exp.report.planned import DEFAULT, Asked, history, with_asked
from acmix_exp.report.records import Record, Row, Table
from acmix_exp.report.table import make_tables
from acmix_exp.run.claim import turn

FILES = ("summary.json", "summary.csv", "summary.md", "table.tex")
FOOTER = (
    "Deltas are in mAP50-95, paired by seed against the reference. 95 % CI: t interval over seeds, of the arm alone; "
    "simultaneous: interval that holds together with those of all comparisons of the family, by the joint sign-flip "
    "test; images: interval over resampled test images with the seeds fixed; population: interval for another seed and "
    "another test set. An arm is better or worse if and only if its simultaneous and its population interval exclude "
    "zero. excludes beyond: larger differences, in either direction, are excluded by two one-sided t tests at 5 %, for "
    "each arm alone. val mAP (last), (best): mAP50-95 on val after the last and the best epoch; the best is biased "
    "upward. GFLOPs are at 640 px, of what runs in the fused network."
)


def footer(tables: Sequence[Table]) -> str:
    """What the columns are; names the metric of the tables' task, if it is one."""
    text, names = tr(FOOTER), list(dict.fromkeys(table.headline for table in tables))
    if len(names) != 1:
        return text
    table = tables[0]
    if table.classifies:
        return text.replace("mAP50-95", table.headline).replace("mAP", table.headline)
    return text.replace("mAP", f"{table.metric} mAP".lstrip())


def write_summary(folder: Path, asked: Asked = DEFAULT) -> list[Table]:
    """Write the four files for all runs that are finished so far, one writer at a time, and return the tables."""
    with turn(folder, "summary"), speaking(asked.language):
        remove_temporaries(folder, *FILES)
        tables, asked_before = make_tables(folder, asked), history(folder)
        summary = {"name": folder.name, "asked": with_asked(asked_before, asked), "tables": as_json(tables)}
        write_json(folder / "summary.json", summary)
        write_text(folder / "summary.csv", _csv(tables))
        write_text(folder / "summary.md", _markdown(folder.name, tables))
        with speaking(ENGLISH):  # a paper's table, whatever the language of the page
            in_english = tables if asked.language == ENGLISH else make_tables(folder, asked)
            write_text(folder / "table.tex", latex(folder.name, in_english))
    return tables


def as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables of summary.json: rows hold the arm, swept values, the numbers of all columns, and values by seed."""
    return [
        {
            "settings": table.settings,
            **({} if table.headline == headline(None) else {"metric": table.headline}),
            "swept_keys": table.swept_keys,
            "reference": table.reference,
            "family": table.family,
            "margin": table.margin,
            "columns": list(table.columns),
            "rows": [
                {
                    **csv_row(row),
                    "values": [_values(record) for record in row.runs.records],
                    "deltas": [{"seed": seed, "delta": delta} for seed, delta in row.comparison.deltas.items()],
                }
                for row in table.rows
            ],
            "pairs": [
                {
                    "arm": pair.runs.arm,
                    **pair.runs.swept,
                    "against": {"arm": pair.reference.arm, **pair.reference.swept},
                }
                | pair_numbers(pair)
                for pair in table.pairs
            ],
            "notes": table.notes,
        }
        for table in tables
    ]


def _values(record: Record) -> dict[str, Any]:
    result = record.result
    scores = ("map50_95", "map50") if result is None or result.top1 is None else ("top1", "top5")
    names = (*scores, "val_last", "val_best", "best_epoch")
    return {"seed": record.seed, "run": record.name, **{name: getattr(result, name) for name in names}}


def digest(tables: list[dict[str, Any]]) -> str:
    """A hash of the tables of a summary.json."""
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def swept_keys(tables: Sequence[Table]) -> list[str]:
    return list(dict.fromkeys(key for table in tables for key in table.swept_keys))


def csv_row(row: Row) -> dict[str, Any]:
    """The row's arm, swept values and numbers by key."""
    return {"arm": row.arm, **row.runs.swept, **numbers(row)}


def _csv(tables: Sequence[Table]) -> str:
    """All tables one after another; a column ``table`` numbers them if there are several, and a column ``metric`` says
    what is compared if it is not the mAP50-95 of boxes everywhere.
    """
    several = ["table"] if len(tables) > 1 else []
    several += ["metric"] if any(table.headline != headline(None) for table in tables) else []
    text = io.StringIO()
    names = ["arm", *swept_keys(tables), *keys("csv", tables), *several]
    writer = csv.DictWriter(text, fieldnames=names, extrasaction="ignore")
    writer.writeheader()
    for table_number, table in enumerate(tables, 1):
        writer.writerows({**csv_row(row), "table": table_number, "metric": table.headline} for row in table.rows)
    return text.getvalue()


def _markdown(name: str, tables: Sequence[Table]) -> str:
    lines = [f"# {escape(name)}", ""]
    for table in tables:
        swept, visible = table.swept_keys, columns("md", table)
        lines += [f"{escape(table.heading)}.", ""]
        lines.append(_line([tr("arm"), *swept, *(column.title for column in visible)]))
        lines.append(_line(["---"] * (1 + len(swept)) + ["---:"] * len(visible)))
        lines += [_line(cells(row, visible)) for row in table.rows]
        lines += _pairs(table)
        lines += ["", *(f"- {escape(note)}" for note in table.notes), ""]
    return "\n".join([*lines, footer(tables), ""])


def _pairs(table: Table) -> list[str]:
    if not table.pairs:
        return []
    visible = columns("pairs")
    return [
        "",
        tr("Between the rows:"),
        "",
        _line([tr("pair"), *(column.title for column in visible)]),
        _line(["---"] + ["---:"] * len(visible)),
        *(_line(pair_cells(pair, visible)) for pair in table.pairs),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def escape(text: str) -> str:
    """The text with a backslash before what Markdown would take for markup; an underscore inside a word is none."""
    return re.sub(r"[\\`*<>|$~\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))
