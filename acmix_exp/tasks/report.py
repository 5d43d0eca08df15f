"""``task=report``: an experiment's folder, from here or from another machine, as tables, figures and one page."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from acmix_exp.config import Config
from acmix_exp.console import console
from acmix_exp.errors import ConfigError
from acmix_exp.report.build import Report, build
from acmix_exp.report.read_runs import collect
from acmix_exp.report.sentences import lead
from acmix_exp.report.table import REFERENCE
from acmix_exp.report.terminal import terminal
from acmix_exp.report.wandb_report import asked_for, publish
from acmix_exp.run.directory import runs_in
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.planning import unknown_reference

FILES = "report.html, figures/, table.tex, summary.md, .csv, .json and .tex"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def report(cell: Composed) -> int:
    """Make the report of ``runs_dir/name`` and log it if the command names a logger; the exit code.

    Raises ConfigError where there are no runs that can be read, none of them is of the reference that was asked for,
    or it can't be written.
    """
    config = cell.config
    folder = Path(config.runs_dir) / config.name
    if not runs_in(folder):
        raise ConfigError(f"name={config.name}: no runs in {folder}; right is {_names(Path(config.runs_dir))}")
    _check(config, folder)
    try:
        made = build(folder, config.report.reference)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        where = error.filename or folder
        raise ConfigError(f"runs_dir={config.runs_dir}: {where} can't be written; copy the folder") from None
    out = console()
    out.print(terminal(made.tables, out.width))
    say(made, folder)
    for line in publish(folder, made, asked_for(folder, config.logger, cell.keys)):
        out.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def _check(config: Config, folder: Path) -> None:
    groups, left_out = collect(folder)
    if not groups:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise ConfigError(f"name={config.name}: no run in {folder} can be read ({left_out[0]}{more}); copy them whole")
    arms = [row.arm for group in groups for row in group.rows]
    if config.report.reference not in (REFERENCE, *arms):
        raise ConfigError(unknown_reference(config.report.reference, arms))


def say(made: Report, folder: Path) -> None:
    """The finding in a sentence a table, what could not be drawn, and where everything is."""
    out = console()

    def line(text: str) -> None:
        out.print(text, soft_wrap=True, highlight=False, markup=False)

    for table in made.shown["tables"]:
        line(lead(table["rows"]))
    for entry in made.shown["drawn"]:
        if entry.get("error"):
            line(f"{entry['kind']} could not be drawn: {entry['error']}")
    line(f"written to {folder}: {FILES}")


def _names(runs_dir: Path) -> str:
    found = _folders(runs_dir)
    return f"one of {', '.join(found)}" if found else "runs_dir=FOLDER, a folder of experiments"


def _folders(runs_dir: Path) -> Sequence[str]:
    if not runs_dir.is_dir():
        return []
    return [path.name for path in sorted(runs_dir.iterdir()) if path.is_dir() and runs_in(path)]
