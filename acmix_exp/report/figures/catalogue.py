"""Which figures a report has, in the order of the page, and how they are saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib as mpl

from acmix_exp.errors import StorageError, one_line, storage_fault
from acmix_exp.report.figures.attention_maps import heads, windows
from acmix_exp.report.figures.confusion_matrices import confusion
from acmix_exp.report.figures.cost_plots import latency
from acmix_exp.report.figures.detection_quality import f1_confidence, precision_recall
from acmix_exp.report.figures.detections import predictions
from acmix_exp.report.figures.fonts import advice, missing_characters, use_fonts_with
from acmix_exp.report.figures.forest import class_deltas, forest
from acmix_exp.report.figures.label_plots import labels
from acmix_exp.report.figures.network_map import placements
from acmix_exp.report.figures.style import Drawing, Drawn, NoData
from acmix_exp.report.figures.training_curves import learning_curves, losses, rate_ratio, rates
from acmix_exp.report.language import tr
from acmix_exp.report.records import Table

# 200 dots per inch. A tenth larger than by the default compression, in half the time.
PNG: dict[str, Any] = {"dpi": 200, "pil_kwargs": {"compress_level": 2}}
MOST_ROWS = 40  # of a table, in a figure
FIGURES: dict[str, Callable[[Table], Iterable[Drawing]]] = {
    figure.__name__: figure
    for figure in (
        *(forest, learning_curves, latency, precision_recall, f1_confidence, confusion, losses, rates, rate_ratio),
        *(class_deltas, placements, predictions, windows, heads, labels),
    )
}
LOOK: dict[Any, Any] = {
    **{key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key != "backend"},
    **mpl.rc_params_from_file(Path(__file__).with_name("figures.mplstyle"), use_default_template=False),
}


def draw(name: str, table: Table) -> list[Drawing]:
    """One of :data:`FIGURES` of a table, not saved; empty if there is nothing to draw."""
    with mpl.rc_context(LOOK), suppress(NoData):
        return list(FIGURES[name](_readable(table)[0]))
    return []


def draw_figures(tables: Sequence[Table], folder: Path) -> tuple[list[Drawn], list[str]]:
    """Draw every figure of every table into ``folder``, as PNG and, unless it shows photographs, SVG; and notes on what
    they lack.

    A figure that cannot be drawn is an entry with ``error``: a damaged file of one run does not stop the report.
    Raises OSError if the disk is full or the like.
    """
    drawn: list[Drawn] = []
    without_font: set[str] = set()
    left_out: dict[str, list[str]] = {}
    with mpl.rc_context(LOOK):
        for index, (table, selection) in enumerate(map(_readable, tables)):
            for name, figure in FIGURES.items():
                try:
                    for drawing in figure(table):
                        drawing = replace(drawing, caption=f"{drawing.caption} {selection}".strip())
                        stem = _file_stem(name, drawing.label, index + 1 if len(tables) > 1 else 0)
                        stem = _unused(stem, {other.stem for other in drawn})
                        without_font |= _save(drawing, folder, stem)
                        drawn.append(Drawn(index, name, drawing, stem))
                except NoData as lacking:
                    left_out.setdefault(str(lacking), []).append(name)
                except Exception as error:
                    if fault := storage_fault(error, str(folder.parent)):
                        raise StorageError(fault) from error
                    drawn.append(Drawn(index, name, error=one_line(error)))
    notes = [advice(without_font)]
    for why, names in left_out.items():
        figures = list(dict.fromkeys(names))
        notes.append(tr("left out: {figures}, because {why}", figures=", ".join(figures), why=tr(why)))
    return drawn, [note for note in notes if note]


def _readable(table: Table) -> tuple[Table, str]:
    """The table, or of one with very many rows those with the largest differences and their references; and a sentence
    that says so.
    """
    if len(table.rows) <= MOST_ROWS:
        return table, ""
    means = {id(row): abs(row.comparison.mean or 0.0) for row in table.rows}
    largest = sorted(table.rows, key=lambda row: -means[id(row)])[: MOST_ROWS // 2]
    drawn = {id(runs) for row in largest for runs in (row.runs, row.reference)}
    rows = [row for row in table.rows if id(row.runs) in drawn]
    sentence = (
        f"Of {len(table.rows)} rows the {len(largest)} with the largest differences and their references: because they "
        "were selected by their differences, they say nothing about the others."
    )
    return replace(table, rows=rows), sentence


def _file_stem(name: str, label: str, table: int) -> str:
    """The file name of a figure; ``label`` is a row's or empty, ``table`` is 0 if there is only one."""
    parts = [name, re.sub(r"[^\w.=-]+", "-", label).strip("-."), str(table) if table else ""]
    return "-".join(filter(None, parts))


def _unused(stem: str, used: Collection[str | None]) -> str:
    """Labels that differ only in signs that no file name has get a number."""
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(name for name in names if name not in used)


def _save(drawing: Drawing, folder: Path, stem: str) -> set[str]:
    """Save the files; the characters that no installed font has."""
    mpl.rcParams["svg.hashsalt"] = stem  # equal bytes for equal figures, and different ids on one page
    figure, png = drawing.figure, folder / f"{stem}.png"
    with missing_characters() as missing:
        figure.savefig(png, **PNG)
    if missing and use_fonts_with(figure, missing):
        with missing_characters() as missing:
            figure.savefig(png, **PNG)
    if not drawing.vector:
        return missing
    figure.set_layout_engine("none")  # the layout stays as it is, and is not computed again
    with missing_characters():
        figure.savefig(folder / f"{stem}.svg", metadata={"Date": None}, transparent=True)
    return missing
