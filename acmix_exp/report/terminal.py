"""The tables on the terminal: no word and no number is cut, and a narrow terminal gets fewer columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from acmix_exp.report.columns import Column, cells, columns, pair_cells
from acmix_exp.report.language import tr
from acmix_exp.report.records import Contrast, Row, Table

GAP = 2  # between two columns
# Columns leave a narrow terminal in the order of these outputs, the last ones first; what is in none of them, before.
KEPT = ("narrow", "terminal")
LAST = ("map50_95_mean", "top1_mean", "delta_mean", "verdict")  # never left out, by their first keys


def terminal(tables: Sequence[Table], width: int) -> RenderableType:
    """The tables for a terminal of ``width`` columns; a line names the columns that it has no room for."""
    parts: list[RenderableType] = []
    left_out: list[str] = []
    for table in tables:
        grid, without = _fitted(table.rows, [tr("arm"), *table.swept_keys], columns("md", table), width)
        left_out += without
        parts += [Text(table.heading, "bold"), Text(), grid, Text()]
        if table.pairs:
            grid, without = _fitted(table.pairs, [tr("between the rows")], columns("pairs"), width)
            left_out += without
            parts += [grid, Text()]
        parts += [Text(f"· {note}") for note in table.notes]
        parts += [Text()] if table.notes else []
    if left_out:
        names = "; ".join(dict.fromkeys(left_out))
        parts.append(Text(tr("not shown at this width: {columns}. All columns: summary.md", columns=names)))
    return Group(*parts)


def _fitted(
    rows: Sequence[Row | Contrast], heads: Sequence[str], visible: Sequence[Column], width: int
) -> tuple[Grid, list[str]]:
    """The rows with as many of the columns as fit, and the titles of the others.

    Headings are broken and verdicts shortened before a column is left out. Before one of those that a narrow terminal
    keeps is, verdicts are broken.
    """
    shown = list(visible)
    while free := [column for column in reversed(shown) if next(iter(column.numbers)) not in LAST]:
        broken = min(map(_worth, free)) == len(KEPT)
        if _width(rows, heads, shown, short=True, folded=True, broken=broken) <= width:
            break
        shown.remove(min(free, key=_worth))
    for short, folded in ((False, False), (True, False), (False, True)):
        if _width(rows, heads, shown, short=short, folded=folded) <= width:
            break
    else:
        short, folded = True, True
    titles = [column.title for column in visible if column not in shown]
    return _grid(rows, heads, shown, short=short, folded=folded), titles


def _worth(column: Column) -> int:
    outputs = column.outputs.split()
    return next((len(KEPT) - place for place, output in enumerate(KEPT) if output in outputs), 0)


def _texts(row: Row | Contrast, visible: Sequence[Column], *, short: bool) -> list[str]:
    if isinstance(row, Row):
        return cells(row, visible, short=short)
    return pair_cells(row, visible, short=short)


def _width(
    rows: Sequence[Row | Contrast],
    heads: Sequence[str],
    visible: Sequence[Column],
    *,
    short: bool,
    folded: bool,
    broken: bool = False,
) -> int:
    """How wide the grid is; ``broken``: with verdicts in lines of one word."""
    titles = _titles(rows, heads, visible, short=short, folded=folded)
    lines = [[max(map(cell_len, title.split("\n"))) for title in titles]]
    verdicts = [column.form == "verdict" and broken for column in visible]
    for row in rows:
        texts = _texts(row, visible, short=short)
        words = [False] * (len(texts) - len(visible)) + verdicts
        lines.append(
            [
                max(map(cell_len, text.split())) if each else cell_len(text)
                for text, each in zip(texts, words, strict=True)
            ]
        )
    return sum(max(column) for column in zip(*lines, strict=True)) + GAP * (len(titles) - 1)


def _titles(
    rows: Sequence[Row | Contrast], heads: Sequence[str], visible: Sequence[Column], *, short: bool, folded: bool
) -> list[str]:
    """The headings; ``folded``: with line breaks, so that they do not widen their columns where words allow it."""
    titles = [*heads, *(column.title for column in visible)]
    if not folded:
        return titles
    texts = [_texts(row, visible, short=short) for row in rows]
    return [_folded(title, max((len(text[place]) for text in texts), default=1)) for place, title in enumerate(titles)]


def _folded(title: str, width: int) -> str:
    """The heading in lines of ``width``, broken at spaces and before brackets, a key behind dots and underscores."""
    parts = re.split(r"(?<=[./_])(?=\w)", title) if "." in title else re.split(r" (?=\()", title)
    if len(parts) == 2 and len(title) <= width:
        parts = [title]
    return "\n".join(
        line
        for part in parts
        for line in textwrap.wrap(part, max(width, 1), break_long_words=False, break_on_hyphens=False)
    )


def _grid(
    rows: Sequence[Row | Contrast], heads: Sequence[str], visible: Sequence[Column], *, short: bool, folded: bool
) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    titles = [Text(title) for title in _titles(rows, heads, visible, short=short, folded=folded)]
    for title in titles[: len(heads)]:
        grid.add_column(title, overflow="fold")
    for column, title in zip(visible, titles[len(heads) :], strict=True):
        # Rich narrows the widest columns first; of those only a verdict may be broken.
        words = column.form == "verdict"
        grid.add_column(title, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in rows:
        grid.add_row(*map(Text, _texts(row, visible, short=short)))
    return grid
