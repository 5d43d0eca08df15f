"""``acmix_exp.load``: the runs of an experiment for notebooks and scripts. It writes nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from acmix_exp.errors import ConfigError
from acmix_exp.files import user_path
from acmix_exp.model_tasks import headline
from acmix_exp.report.planned import REFERENCE, Asked
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Record, Table
from acmix_exp.report.sentences import lead
from acmix_exp.report.table import make_tables
from acmix_exp.report.write import csv_row
from acmix_exp.run.directory import runs_in

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure

METRICS = (
    "map50_95",
    "map50",
    "precision",
    "recall",
    "top1",
    "top5",
    "split",
    "checkpoint",
    "val_last",
    "val_best",
    "best_epoch",
)


def load(folder: str | os.PathLike[str], *, reference: str = REFERENCE) -> Study:
    """The experiment in a folder such as ``runs/demo``, made here or copied from elsewhere, finished or not.

    reference: the arm that the others are compared with, as ``report.reference`` of the command line.

    Raises ConfigError, in one line, for a folder without runs, one whose runs cannot be read, and an arm that has none.
    """
    path = user_path(os.fspath(folder))
    if not runs_in(path):
        raise ConfigError(f"folder={folder}: {_instead(path)}")
    records = read(path)
    if all(record.fault for record in records):
        raise ConfigError(f"folder={folder}: none of its runs can be read: {records[0].name}, {records[0].fault}")
    arms = {record.arm for record in records if not record.fault}
    if reference not in (REFERENCE, *arms):
        raise ConfigError(f"reference={reference}: has no run in {folder}; must be one of {', '.join(sorted(arms))}")
    return Study(path, make_tables(path, Asked(reference)), records)


class Study:
    """An experiment as it was when it was loaded; made by :func:`load`.

    Runs that differ in more than arm, seed and swept keys are in several tables. Rows then have a key ``table``, which
    counts from 1.
    """

    def __init__(self, folder: Path, tables: Sequence[Table], records: Sequence[Record]) -> None:
        self.folder = folder
        self._tables, self._records = tables, records

    def __repr__(self) -> str:
        return f"<Study {self.folder}: {len(self.table)} rows, {len(self.runs)} runs. {' '.join(self.findings)}>"

    @cached_property
    def table(self) -> list[dict[str, Any]]:
        """A dict per row: the arm, swept keys, and every number of summary.json by its key; None if not known.

        Of another task than detection ``metric`` is the name of the headline, such as "mask mAP50-95".
        """
        named = any(table.headline != headline(None) for table in self._tables)
        return [
            {
                **self._number(index),
                **({"metric": table.headline} if named else {}),
                **{key: _plain(value) for key, value in csv_row(row).items()},
            }
            for index, table in enumerate(self._tables, 1)
            for row in table.rows
        ]

    @cached_property
    def verdicts(self) -> dict[str, str | None]:
        """The verdict of each row, one word, by the row's label: its arm and swept values. None: not comparable."""
        words: dict[str, str | None] = {}
        for index, table in enumerate(self._tables, 1):
            for row in table.rows:
                label = f"{row.label} (table {index})" if self._number(index) else row.label
                words[label] = _plain(row.comparison.verdict)
        return words

    @property
    def findings(self) -> list[str]:
        """The finding of each table, in words."""
        return [lead(table) for table in self._tables]

    @property
    def notes(self) -> list[str]:
        """What is missing, failed, resumed, mixed or damaged, in words."""
        return [note for table in self._tables for note in table.notes]

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """A dict per run directory: run, path, arm, seed, swept keys, status, error, metrics, per_class and costs.

        Metrics and costs are those of result.json; a run that is not finished has None.
        """
        return [_run(record) for record in self._records]

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """A dict per run and epoch, with the numbers of history.csv."""
        return [
            {"run": record.name, "arm": record.arm, "seed": record.seed, **record.swept, **_numbers(epoch)}
            for record in self._records
            for epoch in record.history
        ]

    def to_frame(self, of: Literal["table", "runs", "history"] = "table") -> polars.DataFrame:
        """The rows as a polars DataFrame."""
        import polars

        if of not in ("table", "runs", "history"):
            raise ConfigError(f"of={of}: must be one of table, runs, history")
        return polars.DataFrame(getattr(self, of), infer_schema_length=None)

    def figure(self, name: str = "forest", *, arm: str | None = None, table: int = 1) -> Figure:
        """A figure of the report, as a matplotlib Figure: ``study.figure("forest").savefig("forest.pdf")``.

        arm: the row's label, for figures that there is one of per row. table: counts from 1.

        Raises ConfigError for a figure, arm or table that does not exist, and for one that the runs have no data for.
        """
        from acmix_exp.report.figures.catalogue import FIGURES, draw

        if name not in FIGURES:
            raise ConfigError(f"figure={name}: must be one of {', '.join(FIGURES)}")
        if not 1 <= table <= len(self._tables):
            raise ConfigError(f"table={table}: must be from 1 to {len(self._tables)}")
        drawings = draw(name, self._tables[table - 1])
        if not drawings:
            raise ConfigError(f"figure={name}: the runs in {self.folder} have no data for it")
        labels = [drawing.label for drawing in drawings]
        if arm is not None and arm not in labels:
            right = f"one of {', '.join(filter(None, labels))}" if any(labels) else "left out: it is of all arms"
            raise ConfigError(f"arm={arm}: must be {right}")
        return drawings[labels.index(arm) if arm else 0].figure

    def _number(self, index: int) -> dict[str, int]:
        return {"table": index} if len(self._tables) > 1 else {}


def _plain(value: Any) -> Any:
    """A word of an enumeration as text, everything else as it is."""
    return value.value if isinstance(value, Enum) else value


def _run(record: Record) -> dict[str, Any]:
    result, cost = record.result, record.result.cost if record.result else {}
    return {
        "run": record.name,
        "path": str(record.run.path),
        "arm": record.arm,
        "seed": record.seed,
        **record.swept,
        "status": record.state,
        "error": record.fault or record.error,
        **{name: getattr(result, name, None) for name in METRICS},
        "per_class": result.per_class if result else None,
        **{name: value for name, value in cost.items() if isinstance(value, (int, float)) or value is None},
    }


def _numbers(epoch: dict[str, str]) -> dict[str, float | None]:
    """The cells of a row of history.csv as numbers; None for what is none."""
    row: dict[str, float | None] = {}
    for key, text in epoch.items():
        try:
            row[key] = int(text) if text.isdigit() else float(text)
        except ValueError:
            row[key] = None
    return row


def _instead(path: Path) -> str:
    """What is wrong with a folder that holds no runs, and what would be right."""
    if not path.is_dir():
        return "no such folder; must be the folder of an experiment, such as runs/demo"
    if (path / "status.json").exists():
        return f"is a run; must be the folder of its experiment, {path.parent}"
    names = ", ".join(sorted(each.name for each in path.iterdir() if each.is_dir() and runs_in(each)))
    return f"holds no runs; must be {f'one of the experiments in it: {names}' if names else 'one that does'}"
