"""The live view of a sweep: a table that redraws itself on a terminal, one plain line a change elsewhere."""

from __future__ import annotations

import threading

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acmix_exp.sweep.planning import Plan
from acmix_exp.sweep.progress import Progress, Survey, duration, seconds_left

INTERVAL_SECONDS = 0.5
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "pending": "dim"}
# Where not all runs fit, what can still change comes first.
ORDER = ("running", "failed", "interrupted", "pending", "done")
BAR_FROM_WIDTH = 100
# Title, two lines of headings, rule, "and N more", and the line that the cursor is left on.
LINES_AROUND = 6


class View:
    """Watches the run directories of a plan from a thread of its own, between ``start`` and ``stop``."""

    def __init__(self, plan: Plan, runs_at_once: int) -> None:
        self.plan = plan
        self.runs_at_once = runs_at_once
        self._survey = Survey(plan)
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
                self._say(self._survey.rows())
            self._say(self._survey.rows())
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while not self._stop.wait(INTERVAL_SECONDS):
                live.update(self._table(self._survey.rows()), refresh=True)

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

    def _table(self, rows: list[Progress]) -> RenderableType:
        """Every run where they fit, else those of ``_chosen``. Only the run's name gives way to a narrow terminal."""
        width, height = self.console.size
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        # A column that may not wrap is not narrowed while there is one that may.
        table.add_column("run", overflow="ellipsis")
        table.add_column("status", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        if width >= BAR_FROM_WIDTH:
            table.add_column("", no_wrap=True)
        for name in ("mAP50", "mAP50-95" if width >= BAR_FROM_WIDTH else "mAP50\n-95", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        shown = _chosen(rows, max(1, height - LINES_AROUND))
        for row in shown:
            status = row.status + (" (resumed)" if row.resumed and row.status in ("running", "done") else "")
            bar = [ProgressBar(row.epochs, row.epoch, width=16)] if width >= BAR_FROM_WIDTH else []
            table.add_row(
                Text(row.run.name, no_wrap=True, overflow="ellipsis"),
                Text(status, COLOURS[row.status]),
                f"{row.epoch}/{row.epochs}",
                *bar,
                "" if row.map50 is None else f"{row.map50:.3f}",
                "" if row.map50_95 is None else f"{row.map50_95:.3f}",
                "" if row.status in ("done", "failed") else duration(row.left),
            )
        more = [Text(f"and {len(rows) - len(shown)} more", "dim")] if len(shown) < len(rows) else []
        return Group(self._title(rows, width), table, *more)

    def _title(self, rows: list[Progress], width: int) -> Text:
        done = sum(row.status == "done" for row in rows)
        left = duration(seconds_left(rows, self.runs_at_once))
        state = f": {done} of {len(rows)} runs done, {left} left"
        name = Text(self.plan.name)
        name.truncate(max(1, width - len(state)), overflow="ellipsis")
        return Text.assemble((name.plain, "bold"), state, no_wrap=True)


def _chosen(rows: list[Progress], room: int) -> list[Progress]:
    """All rows where there is room; else the first of ORDER, with the last of those done."""
    if len(rows) <= room:
        return rows
    chosen: list[Progress] = []
    for status in ORDER:
        same = [row for row in rows if row.status == status]
        free = room - len(chosen)
        chosen += same[max(0, len(same) - free) :] if status == "done" else same[:free]
    return chosen
