"""``task=report``: the report of an experiment's folder, made here or copied from another machine."""

from __future__ import annotations

import errno
from pathlib import Path

from acmix_exp.config import Config
from acmix_exp.console import console, print_line
from acmix_exp.errors import ConfigError
from acmix_exp.report.build import Report, build
from acmix_exp.report.language import speaking
from acmix_exp.report.planned import REFERENCE, Asked
from acmix_exp.report.read_runs import collect
from acmix_exp.report.sentences import lead, overall
from acmix_exp.report.terminal import terminal
from acmix_exp.report.wandb_report import logger_for_report, publish
from acmix_exp.run.directory import runs_in
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.planning import unknown_reference

FILES = "report.html, figures/, table.tex, summary.md, .csv and .json"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def report(cell: Composed) -> int:
    """Make the report of ``runs_dir/name`` and log it, as logger_for_report says; the exit code.

    Raises ConfigError if no run can be read, if none of them is of the reference, or if the folder is read-only.
    """
    config = cell.config
    folder = Path(config.runs_dir) / config.name
    _check(config, folder)
    try:
        built = build(folder, Asked.of(config.report))
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        path = error.filename or folder
        raise ConfigError(f"runs_dir={config.runs_dir}: {path} cannot be written; copy the folder") from None
    out = console()
    with speaking(config.report.language):
        out.print(terminal(built.tables, out.width))
    say(built, folder, config.report.language)
    for line in publish(folder, built, logger_for_report(folder, config.logger, cell.keys)):
        print_line(line)
    return 0


def _check(config: Config, folder: Path) -> None:
    if not runs_in(folder):
        raise ConfigError(f"name={config.name}: no runs in {folder}; must be {experiments(Path(config.runs_dir))}")
    groups, left_out = collect(folder)
    if not groups:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise ConfigError(f"name={config.name}: no run in {folder} can be read ({left_out[0]}{more}); copy them whole")
    arms = [row.arm for group in groups for row in group.rows]
    if config.report.reference not in (REFERENCE, *arms):
        raise ConfigError(unknown_reference(config.report.reference, arms))


def say(built: Report, folder: Path, language: str) -> None:
    """Print the finding of all tables and of each, figures that could not be drawn, notes on figures, and the files."""
    with speaking(language):
        for line in filter(None, [overall(built.tables), *map(lead, built.tables)]):
            print_line(line)
    for figure in built.figures:
        if figure.error:
            print_line(f"{figure.name} could not be drawn: {figure.error}")
    for note in built.notes:
        print_line(f"warning: {note}")
    print_line(f"written to {folder}: {FILES}")


def experiments(runs_dir: Path) -> str:
    """The names that ``name`` may have, in words."""
    folders = sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []
    names = [path.name for path in folders if path.is_dir() and runs_in(path)]
    return f"one of {', '.join(names)}" if names else "a folder of experiments, by runs_dir=FOLDER"
