"""The tables on the terminal: no number is cut, and a narrow terminal gets fewer columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from acmix_exp.report.columns import Output, cells, columns, pair_cells
from acmix_exp.report.records import Table

FULL = 250
WIDE = 150
TIGHT = 100


def terminal(tables: Sequence[Table], width: int) -> RenderableType:
    """The tables for a terminal of ``width`` columns; below FULL it names the file with the columns left out."""
    parts: list[RenderableType] = []
    for table in tables:
        parts += [Text(table.heading, "bold"), Text(), _grid(table, width), Text()]
        parts += [_pairs(table, width), Text()] if table.pairs else []
        parts += [Text(f"· {note}") for note in table.notes]
        parts += [Text()] if table.notes else []
    if tables and width < FULL:
        parts.append(Text("all columns: summary.csv"))
    return Group(*parts)


def _grid(table: Table, width: int) -> Grid:
    output: Output = "md" if width >= FULL else "terminal" if width >= WIDE else "narrow"
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("arm", *table.swept_keys):
        grid.add_column(_folded(name, width), overflow="fold")
    for column in columns(output):
        # Rich narrows the widest columns first; of those only a verdict may be broken.
        words = column.form == "verdict"
        heading = _folded(column.title, width)
        grid.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in table.rows:
        grid.add_row(*map(Text, cells(row, output, short=width < WIDE)))
    return grid


def _pairs(table: Table, width: int) -> Grid:
    """The comparisons between rows; a narrow terminal shows their difference and verdict alone."""
    visible = columns("pairs")
    shown = [
        place
        for place, column in enumerate(visible)
        if width >= (FULL if "population_low" in column.numbers else WIDE)
        or "delta_mean" in column.numbers
        or column.form == "verdict"
    ]
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("between the rows", overflow="fold")
    for place in shown:
        words = visible[place].form == "verdict"
        heading = _folded(visible[place].title, width)
        grid.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for pair in table.pairs:
        label, *texts = pair_cells(pair, short=width < WIDE)
        grid.add_row(Text(label), *(Text(texts[place]) for place in shown))
    return grid


def _folded(name: str, width: int) -> Text:
    """The heading with line breaks at good places, so that it does not widen its column."""
    return Text(re.sub(r"(?<=[./_])(?=.)|(?=\()" if width < TIGHT else r"(?<=[./])(?=.)", "\n", name))
