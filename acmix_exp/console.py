"""Printing: a console of the right width, and the steps of a child process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PIPE_WIDTH = 180  # columns for output that is not a terminal, for which rich assumes 80: tables would wrap


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table if there is none."""
    output = Console(stderr=stderr)
    if not output.is_terminal:
        output.width = PIPE_WIDTH
    return output


@contextlib.contextmanager
def showing_steps(first: str = "importing torch") -> Iterator[Callable[[str], None]]:
    """Show the current step and the elapsed time on stderr: in a terminal one changing line, else a line per step."""
    output = console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=output, disable=not output.is_terminal, transient=True) as progress:
        line = progress.add_task(first)

        def show(text: str) -> None:
            progress.update(line, description=text)
            if not output.is_terminal:
                output.print(text, markup=False, highlight=False, soft_wrap=True)

        yield show
