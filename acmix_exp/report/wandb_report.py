"""Log a finished report to W&B, as one more run in the experiment's group."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.child import run_child
from acmix_exp.config import LoggerConfig
from acmix_exp.report.build import FIGURES, PAGE, Report
from acmix_exp.report.columns import keys, numbers, of_files
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Row
from acmix_exp.report.write import csv_row, swept_keys
from acmix_exp.run.directory import runs_in
from acmix_exp.tracking import is_disabled

SECONDS = 120
LOGGED = ("mode", "project", "entity", "group", "notes")  # keys of the logger
# All that a forest plot needs.
COMPARISON = ("delta_mean", "delta_low", "delta_high", "simultaneous_low", "simultaneous_high", "p_adjusted", "verdict")


def publish(folder: Path, report: Report, logger: LoggerConfig) -> list[str]:
    """Log the report as the experiment's own W&B run, in ``folder``/wandb; the lines to print.

    Does nothing if the runs were not logged or logging is disabled.
    """
    logged = [run for run in runs_in(folder) if (run.path / "wandb").is_dir()]
    if not logged or is_disabled(logger.mode):
        return []
    answer = run_child("wandb_report", folder, _request(folder, report, logger), seconds=SECONDS)
    lines = answer.value if answer.error is None else [f"W&B failed, the report is complete: {answer.error}"]
    if any(folder.glob("wandb/offline-run-*")):
        lines.append(f"W&B is offline; to upload: {sync_command(folder)}")
    return lines


def sync_command(folder: Path) -> str:
    """The shell command that uploads all offline W&B runs of an experiment's folder."""
    patterns = [pattern for pattern in ("wandb/offline-run-*", "*/wandb/offline-run-*") if any(folder.glob(pattern))]
    return " ".join(["wandb sync", *(f"{shlex.quote(str(folder))}/{pattern}" for pattern in patterns)])


def logger_for_report(folder: Path, logger: LoggerConfig, explicit: Collection[str]) -> LoggerConfig:
    """Where ``task=report`` logs to: as the runs were logged, except for what ``explicit`` overrides of ``logger`` say.

    Online only if such an override asks for it: the folder may belong to someone else, and so may the W&B project.
    """
    changes = {key: getattr(logger, key) for key in LOGGED if f"logger.{key}" in explicit}
    if "logger" in explicit:
        changes["mode"] = logger.mode
    chosen = replace(logger_of_runs(folder), **changes)
    if "mode" not in changes:
        return replace(chosen, mode="disabled" if is_disabled("auto") or is_disabled(chosen.mode) else "offline")
    return chosen


def logger_of_runs(folder: Path) -> LoggerConfig:
    """How the runs of a folder were logged, by the first config that says it."""
    for record in read(folder):
        try:
            logger = record.config["logger"]
            return LoggerConfig(str(logger["mode"]), *(logger.get(key) for key in LOGGED[1:]))
        except (KeyError, TypeError, AttributeError):
            continue
    return LoggerConfig()


def _request(folder: Path, report: Report, logger: LoggerConfig) -> dict[str, Any]:
    records = read(folder)
    # The runs' own group, also if the folder was renamed.
    names = (record.config.get("name") for record in records)
    name = next((name for name in names if isinstance(name, str)), folder.name)
    return {
        "mode": logger.mode,
        "init": {
            "project": logger.project,
            "entity": logger.entity,
            "group": logger.group or name,
            "notes": logger.notes,
            "name": f"{name}-report",
            "config": {"name": name, "task": "report", "runs": len(records)},
        },
        "tables": _tables(report),
        "figures": {
            figure.stem: [str(folder / FIGURES / f"{figure.stem}.png"), figure.drawing.title]
            for figure in report.figures
            if figure.stem and figure.drawing
        },
        "page": str(folder / PAGE),
        "summary": _scalars(report),
    }


def _rows(report: Report) -> Iterator[tuple[int, Row]]:
    """Every row with the number of its table, from 1."""
    for number, table in enumerate(report.tables, 1):
        for row in table.rows:
            yield number, row


def _scalars(report: Report) -> dict[str, Any]:
    """Named ``delta_mean/mixed``, or ``table2/delta_mean/mixed`` if there are several tables."""
    several = len(report.tables) > 1
    names = [next(iter(column.numbers)) for column in of_files("wandb", report.tables)]
    return {
        f"{f'table{number}/' if several else ''}{key}/{row.label}": value
        for number, row in _rows(report)
        for key in names
        if (value := numbers(row)[key]) is not None
    }


def _tables(report: Report) -> dict[str, Any]:
    """All rows; the comparisons; and the deltas by seed."""
    names = ["table", "arm", *swept_keys(report.tables), *keys("csv", report.tables)]
    rows, comparisons, deltas = [], [], []
    for number, row in _rows(report):
        values = {"table": number, **csv_row(row)}
        rows.append([values.get(name) for name in names])
        if row.comparison.deltas:
            comparisons.append([number, row.label, row.comparison.n, *(values[key] for key in COMPARISON)])
        deltas += [[number, row.label, seed, delta] for seed, delta in row.comparison.deltas.items()]
    return {
        "table": {"columns": names, "data": rows},
        "deltas": {"columns": ["table", "arm", "n", *COMPARISON], "data": comparisons},
        "deltas_by_seed": {"columns": ["table", "arm", "seed", "delta"], "data": deltas},
    }
