"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

# A table is no use folded to the 80 columns that a pipe is taken for.
PIPE_WIDTH = 180


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table where there is none."""
    made = Console(stderr=stderr)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made
