"""report.html: one file that opens from disk and holds everything that it shows."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

import acmix_exp
from acmix_exp.report import sentences
from acmix_exp.report.columns import Column, columns
from acmix_exp.report.figures.style import INK, RULE, Drawing, Drawn
from acmix_exp.report.language import language, messages, tr
from acmix_exp.report.notes import count
from acmix_exp.report.overview import Overview
from acmix_exp.report.page_data import page_data
from acmix_exp.report.records import Record, Result, Table
from acmix_exp.report.write import as_json, digest, footer

JPEG_QUALITY = 84
SCRIPTS = ("page_common.js", "page_tables.js", "page_curves.js", "page_images.js", "page_start.js")
REPLACED = {"learning_curves": "curves", "predictions": "images"}  # figures that the script draws, by part of its data


def page(
    name: str,
    tables: Sequence[Table],
    records: Sequence[Record],
    drawn: Sequence[Drawn],
    folder: Path,
    notes: Sequence[str] = (),
) -> str:
    """The page as text. ``records`` are all runs, ``folder`` holds the files of the figures, ``notes`` are on them."""
    environment = Environment(
        loader=PackageLoader("acmix_exp.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = script()
    data = page_data(tables, words(text))
    states = Counter(record.state for record in records)
    parts = {part: any(table[part] for table in json.loads(data)["tables"]) for part in REPLACED.values()}
    return environment.get_template("page.html.j2").render(
        name=name,
        language=language(),
        tr=tr,
        count=count,
        data=data,
        parts=parts,
        script=text,
        script_hash=base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        overall=sentences.overall(tables),
        overviews=[Overview(table) for table in tables],
        labels=_labels(tables),
        raw=_raw,
        version=acmix_exp.__version__,
        digest=digest(as_json(tables)),
        css=files("acmix_exp.report").joinpath("page.css").read_text(encoding="utf-8"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tables=tables,
        columns=columns,
        figures=[
            [
                (figure.stem, figure.drawing)
                for figure in drawn
                if figure.table == index and figure.drawing and not parts.get(REPLACED.get(figure.name, ""))
            ]
            for index in range(len(tables))
        ],
        drawn=drawn,
        notes=notes,
        records=records,
        states=", ".join(f"{count(number, 'run')} {tr(state)}" for state, number in states.items()),
        provenance=_provenance(records),
        commands=_counted(record.provenance.get("command") for record in records),
        footer=footer(tables),
        sentences=sentences,
        remark=_remark,
        picture=partial(_picture, folder),
        run_numbers=_run_numbers,
    )


def words(text: str) -> dict[str, str]:
    """The sentences of the script in the report's language, by the English ones; empty for English."""
    said = re.findall(r'\bt\("((?:[^"\\]|\\.)*)"', text)
    return {sentence: found for sentence in said if (found := messages(language()).get(sentence))}


def script() -> str:
    """The script of the page: the files in their order, in one scope of their own."""
    package = files("acmix_exp.report")
    content = [package.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['(() => {\n"use strict";', *content, "})();"]).replace("\r\n", "\n")


def _labels(tables: Sequence[Table]) -> dict[str, tuple[int, str]]:
    """By run its table and its row in it; of a run in several tables the first."""
    found = [
        (record.name, (index, row.label))
        for index, table in enumerate(tables)
        for row in table.rows
        for record in (*row.runs.all_records, *row.runs.repeated)
    ]
    return dict(reversed(found))


def _raw(column: Column, numbers: dict[str, Any]) -> list[Any]:
    return [numbers.get(key) for key in column.numbers]


def _run_numbers(result: Result | None) -> dict[str, Any]:
    """The numbers of a single run, by the keys of the columns."""
    if result is None:
        return {}
    means = {f"{name}_mean": getattr(result, name) for name in ("map50_95", "top1", "val_last", "val_best")}
    return {**means, **result.cost}


def _remark(record: Record) -> str:
    parts = [tr("resumed")] if record.status.get("resumed") else []
    if (record.status.get("attempt") or 0) > 1:
        parts.append(tr("attempt {number}", number=record.status["attempt"]))
    return ", ".join(filter(None, (*parts, record.error)))


def _picture(folder: Path, stem: str, drawing: Drawing) -> str:
    """The figure in the files ``stem``.svg and .png as an element: SVG, or a JPEG inside an <img>."""
    if drawing.vector:
        return _inline_svg((folder / f"{stem}.svg").read_text(encoding="utf-8"), stem, drawing.description)
    with Image.open(folder / f"{stem}.png") as image:
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=JPEG_QUALITY)
        width, height = image.size
    encoded = base64.b64encode(data.getvalue()).decode("ascii")
    return (
        f'<img src="data:image/jpeg;base64,{encoded}" width="{width}" height="{height}" '
        f'style="max-width: {round(width / 1.7)}px" alt="{escape(drawing.description)}">'
    )


def _inline_svg(text: str, prefix: str, label: str) -> str:
    """The ``<svg>`` element alone, in the page's fonts and colours, its ids made unique by ``prefix``."""
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", prefix)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub(INK, "currentColor", body, flags=re.IGNORECASE)
    body = re.sub(RULE, "var(--rule)", body, flags=re.IGNORECASE)
    body = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font-size: \1", body)  # the size as drawn
    tag, rest = body.split(">", 1)
    tag = re.sub(r'\s(?:width|height)="[^"]*"', "", tag)
    return f'<svg role="img" aria-label="{escape(label)}" {tag.removeprefix("<svg ")}>{rest.strip()}'


def _provenance(records: Iterable[Record]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Versions, commit, hardware and data of the runs: every value and the number of runs that have it."""
    facts: dict[str, list[Any]] = {}
    for record in records:
        content = record.provenance
        git, hardware, dataset = (content.get(key) or {} for key in ("git", "hardware", "dataset"))
        values = {
            **(content.get("versions") or {}),
            "commit": _commit(git),
            "machine": _machine(hardware),
            "platform": hardware.get("platform"),
            "precision": content.get("precision"),
            "data set": dataset.get("name"),
            "data fingerprint": dataset.get("fingerprint"),
        }
        for name, value in values.items():
            facts.setdefault(name, []).append(value)
    return [(name, counts) for name, values in facts.items() if (counts := _counted(values))]


def _commit(git: dict[str, Any]) -> str | None:
    if not git.get("commit"):
        return None
    changes = f" {str(git['diff_sha256'])[:8]}" if git.get("diff_sha256") else ""
    return f"{git['commit']}{f' with changes{changes}' if git.get('dirty') else ''}"


def _machine(hardware: dict[str, Any]) -> str | None:
    parts = [hardware.get("gpu"), hardware.get("cpu")]
    parts += [f"{hardware['cores']} cores"] if hardware.get("cores") else []
    parts += [f"{hardware['memory_gib']} GiB"] if hardware.get("memory_gib") else []
    return ", ".join(filter(None, parts)) or None


def _counted(values: Iterable[Any]) -> list[tuple[str, int]]:
    return list(Counter(str(value) for value in values if value is not None).items())
