"""Printing: a console of the right width, lines, tables, and the steps of a child process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

PIPE_WIDTH = 180  # columns for output that is not a terminal, for which rich assumes 80: tables would wrap


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table if there is none."""
    output = Console(stderr=stderr, emoji=False)  # a class may be called ":car:"
    if not output.is_terminal:
        output.width = PIPE_WIDTH
    return output


def print_line(text: str) -> None:
    """Print a line to stdout as it is, also if it is wider than the terminal."""
    console().print(text, soft_wrap=True, highlight=False, markup=False)


def text_table(
    title: str, left: Iterable[str], right: Iterable[str], rows: Iterable[Sequence[str]], **style: Any
) -> Table:
    """A table with the left-aligned columns first. style: arguments of rich's Table."""
    table = Table(title=escape(title), title_justify="left", **style)
    for name in left:
        table.add_column(escape(name))
    for name in right:
        table.add_column(escape(name), justify="right")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


@contextlib.contextmanager
def showing_steps() -> Iterator[Callable[[str], None]]:
    """Show the current step and the elapsed time on stderr: in a terminal one changing line, else a line per step."""
    output = console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=output, disable=not output.is_terminal, transient=True) as progress:
        line = progress.add_task("importing torch")

        def show(text: str) -> None:
            progress.update(line, description=text)
            if not output.is_terminal:
                output.print(text, markup=False, highlight=False, soft_wrap=True)

        yield show
