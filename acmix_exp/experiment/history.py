"""history.csv: one row an epoch, whole after every epoch, without a row twice after a resume."""

from __future__ import annotations

import csv
import io

from acmix_exp.experiment.store import Run, write_text


class History:
    """Rows of one run; rows that an earlier attempt wrote stay where this attempt resumes behind them."""

    def __init__(self, run: Run, *, resumed: bool) -> None:
        self.path = run.path / "history.csv"
        self.rows: list[dict[str, object]] = [dict(row) for row in run.history()] if resumed else []

    def add(self, row: dict[str, float]) -> None:
        """Add an epoch's row in place of any row of that epoch or a later one."""
        kept = [old for old in self.rows if int(float(str(old["epoch"]))) < row["epoch"]]
        self.rows = [*kept, {**row, "epoch": int(row["epoch"])}]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for row in self.rows for key in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
