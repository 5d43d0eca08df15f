"""Hands a finished report to W&B: one more run in the experiment's group."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.child import run_child
from acmix_exp.config import LoggerConfig
from acmix_exp.report.build import FIGURES, PAGE, Report
from acmix_exp.report.figures.catalogue import BY_NAME
from acmix_exp.report.table import COLUMNS
from acmix_exp.run.directory import runs_in
from acmix_exp.tracking import is_disabled

SECONDS = 120
DELTAS = ("delta_mean", "delta_low", "delta_high", "p_adjusted", "verdict")


def publish(folder: Path, made: Report, logger: LoggerConfig) -> list[str]:
    """Log the report as the experiment's own W&B run, as ``logger`` asks; what the user should hear, a line each.

    Its files are in ``folder``/wandb. Does nothing where the runs themselves were not logged.
    """
    tracked = [run for run in runs_in(folder) if (run.path / "wandb").is_dir()]
    if not tracked or is_disabled(logger.mode):
        return []
    request = _request(folder, made, logger)
    answer = run_child("wandb_report", folder, request, seconds=SECONDS)
    lines = answer.value if answer.error is None else [f"W&B failed, the report is complete: {answer.error}"]
    if any(folder.glob("wandb/offline-run-*")):
        lines.append(f"W&B is offline; to upload: {sync_command(folder)}")
    return lines


def sync_command(folder: Path) -> str:
    """What uploads all that is offline in an experiment's folder, for a shell."""
    patterns = [pattern for pattern in ("wandb/offline-run-*", "*/wandb/offline-run-*") if any(folder.glob(pattern))]
    return " ".join(["wandb sync", *(f"{shlex.quote(str(folder))}/{pattern}" for pattern in patterns)])


def asked_for(folder: Path, logger: LoggerConfig, explicit: Collection[str]) -> LoggerConfig:
    """Where ``task=report`` logs to: where the runs were logged to, but what ``explicit`` overrides say is as in
    ``logger``.

    Online only where these ask for it: the folder may be someone else's, and then so is the project.
    """
    changes = {key: getattr(logger, key) for key in ("mode", "project", "entity") if f"logger.{key}" in explicit}
    if "logger" in explicit:
        changes["mode"] = logger.mode
    asked = replace(logger_of_runs(folder), **changes)
    if "mode" not in changes and not is_disabled(asked.mode):
        return replace(asked, mode="offline")
    return asked


def logger_of_runs(folder: Path) -> LoggerConfig:
    """Where the runs of a folder were logged to, as the first that tells says."""
    for config in _configs(folder):
        try:
            found = config["logger"]
            return LoggerConfig(str(found["mode"]), str(found["project"]), found["entity"])
        except (KeyError, TypeError):
            continue
    return LoggerConfig()


def _name(folder: Path) -> str:
    """The experiment's name, by which its runs are grouped: that of the runs where the folder was renamed."""
    return next((config["name"] for config in _configs(folder) if isinstance(config.get("name"), str)), folder.name)


def _configs(folder: Path) -> Iterator[dict[str, Any]]:
    for run in runs_in(folder):
        try:
            config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(config, dict):
            yield config


def _request(folder: Path, made: Report, logger: LoggerConfig) -> dict[str, Any]:
    name = _name(folder)
    figures = {
        entry["stem"]: [str(folder / FIGURES / f"{entry['stem']}.png"), BY_NAME[entry["kind"]].title]
        for entry in made.shown["drawn"]
        if entry["stem"]
    }
    return {
        "folder": str(folder),
        "mode": logger.mode,
        "init": {
            "project": logger.project,
            "entity": logger.entity,
            "group": name,
            "name": f"{name}-report",
            "config": {"name": name, "task": "report", "runs": len(runs_in(folder))},
        },
        "tables": {"table": _table(made.tables), "deltas": _deltas(made), "deltas_by_seed": _by_seed(made)},
        "figures": figures,
        "page": str(folder / PAGE),
        "summary": _summary(made),
    }


def _summary(made: Report) -> dict[str, Any]:
    """Scalars as ``delta_mean/mixed``; as ``table2/delta_mean/mixed`` where there are several tables."""
    several = len(made.shown["tables"]) > 1
    return {
        f"{f'table{number}/' if several else ''}{key}/{row['label']}": row["summary"][key]
        for number, row in _rows(made)
        for key in ("map50_95_mean", "delta_mean", "verdict")
        if row["summary"][key] is not None
    }


def _rows(made: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row with the number of its table, from 1."""
    for number, table in enumerate(made.shown["tables"], 1):
        for row in table["rows"]:
            yield number, row


def _table(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    swept = list(dict.fromkeys(key for table in tables for key in table["swept_keys"]))
    columns = ["table", "arm", *swept, *COLUMNS]
    rows = [{**row, "table": number} for number, table in enumerate(tables, 1) for row in table["rows"]]
    return {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}


def _deltas(made: Report) -> dict[str, Any]:
    """One row a comparison: all that a forest plot needs."""
    data = [
        [number, row["label"], len(row["deltas"]), *(row["summary"][key] for key in DELTAS)]
        for number, row in _rows(made)
        if row["deltas"]
    ]
    return {"columns": ["table", "arm", "n", *DELTAS], "data": data}


def _by_seed(made: Report) -> dict[str, Any]:
    data = [
        [number, row["label"], int(seed), delta] for number, row in _rows(made) for seed, delta in row["deltas"].items()
    ]
    return {"columns": ["table", "arm", "seed", "delta"], "data": data}
