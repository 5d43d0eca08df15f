"""The live view of a sweep: a table that redraws itself on a terminal, one plain line a change elsewhere."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from acmix_exp.experiment.plan import Plan
from acmix_exp.experiment.progress import Progress, duration, seconds_left, survey

INTERVAL_SECONDS = 0.5
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "pending": "dim"}
ROWS_SHOWN = 30


class View:
    """Watches the run directories of a plan from a thread of its own, between ``start`` and ``stop``."""

    def __init__(self, plan: Plan, runs_at_once: int) -> None:
        self.plan = plan
        self.runs_at_once = runs_at_once
        self.console = Console(stderr=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="view", daemon=True)
        self._said: dict[str, tuple[str, int]] = {}

    def start(self) -> View:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        if not self.console.is_terminal:
            while not self._stop.wait(INTERVAL_SECONDS):
                self._say(survey(self.plan))
            self._say(survey(self.plan))
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while not self._stop.wait(INTERVAL_SECONDS):
                live.update(self._table(survey(self.plan)), refresh=True)

    def _say(self, rows: list[Progress]) -> None:
        for row in rows:
            state = (row.status, row.epoch)
            if self._said.setdefault(row.run.name, ("pending", 0)) == state:
                continue
            self._said[row.run.name] = state
            line = f"{row.run.name}: {row.status}"
            if row.epoch:
                line += f", epoch {row.epoch}/{row.epochs}, mAP50 {row.map50:.3f}, mAP50-95 {row.map50_95:.3f}"
            if row.status == "failed":
                line += f", {row.error}"
            left = seconds_left(rows, self.runs_at_once)
            if row.status == "running" and left is not None:
                line += f", {duration(left)} left in all"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self, rows: list[Progress]) -> Table:
        done = sum(row.status == "done" for row in rows)
        left = duration(seconds_left(rows, self.runs_at_once))
        table = Table(title=f"{self.plan.name}: {done} of {len(rows)} runs done, {left} left", title_justify="left")
        for name in ("run", "status", "epoch", "", "mAP50", "mAP50-95", "left"):
            table.add_column(name, justify="left" if name in ("run", "status", "") else "right", no_wrap=True)
        shown = rows
        if len(rows) > ROWS_SHOWN:
            open_rows = [row for row in rows if row.status != "done"]
            shown = (open_rows + [row for row in rows if row.status == "done"])[:ROWS_SHOWN]
            table.caption = f"and {len(rows) - len(shown)} more"
        for row in shown:
            colour = COLOURS[row.status]
            status = row.status + (" (resumed)" if row.resumed and row.status in ("running", "done") else "")
            table.add_row(
                row.run.name,
                f"[{colour}]{status}[/]",
                f"{row.epoch}/{row.epochs}",
                ProgressBar(row.epochs, row.epoch, width=16),
                "" if row.map50 is None else f"{row.map50:.3f}",
                "" if row.map50_95 is None else f"{row.map50_95:.3f}",
                "" if row.status in ("done", "failed") else duration(row.left),
            )
        return table
