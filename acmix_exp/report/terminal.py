"""The table on the terminal: every figure whole, in as many columns as there is room for."""

from __future__ import annotations

import re
from typing import Any

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from acmix_exp.report.write import HEADINGS, cells, heading

FULL = 200
WIDE = 150
TIGHT = 100
WIDE_HEADINGS = ("n", "mAP50-95", "std", "mAP50", "delta", "95 % interval", "verdict", "parameters", "GFLOPs")
NARROW_HEADINGS = ("n", "mAP50-95", "std", "mAP50", "delta", "verdict")
INTERVALS = ("95 % interval", "of images")
SHORT_VERDICTS = ("n too small", "no difference shown", "better", "worse", "reference")


def terminal(tables: list[dict[str, Any]], width: int) -> RenderableType:
    """The tables for a terminal of ``width`` columns; below FULL some are left to summary.md."""
    parts: list[RenderableType] = []
    for table in tables:
        parts += [Text(heading(table), "bold"), Text(), _view(table, width), Text()]
        parts += [Text(f"· {note}") for note in table["notes"]]
        parts += [Text()] if table["notes"] else []
    if tables and width < FULL:
        parts.append(Text("all columns: summary.md"))
    return Group(*parts)


def _view(table: dict[str, Any], width: int) -> Table:
    swept = table["swept_keys"]
    shown = HEADINGS if width >= FULL else WIDE_HEADINGS if width >= WIDE else NARROW_HEADINGS
    view = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("arm", *swept):
        view.add_column(_folded(name, width), overflow="fold")
    for name in shown:
        # Rich narrows the widest columns first, which are never figures, the interval apart.
        justify: JustifyMethod = "left" if name == "verdict" else "right"
        view.add_column(_folded(name, width), justify=justify, overflow="fold", no_wrap=name in INTERVALS)
    for row in table["rows"]:
        texts = cells(row, swept)
        figures = dict(zip(HEADINGS, texts[1 + len(swept) :], strict=True))
        if width < WIDE:
            figures["verdict"] = _short(figures["verdict"])
        view.add_row(*map(Text, texts[: 1 + len(swept)]), *(Text(figures[name]) for name in shown))
    return view


def _folded(name: str, width: int) -> Text:
    """The heading with line breaks where it reads well with them, so that it is not what widens its column."""
    return Text(re.sub(r"(?<=[./_])(?=.)|(?=-)" if width < TIGHT else r"(?<=[./])(?=.)", "\n", name))


def _short(verdict: str) -> str:
    return next((short for short in SHORT_VERDICTS if verdict.startswith(short)), verdict)
