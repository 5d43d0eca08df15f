"""The live view of a sweep: a table redrawn in place on a terminal, otherwise one plain line per change."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acmix_exp import model_tasks
from acmix_exp.config import ModelConfig
from acmix_exp.sweep.planning import Plan
from acmix_exp.sweep.progress import Progress, Survey, duration, seconds_left

INTERVAL_SECONDS = 0.5
SHARE = 0.1  # of the time that looking and drawing may take
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow", "pending": "dim"}
# If not all runs fit, those that can still change come first.
ORDER = ("running", "failed", "interrupted", "pending", "done")
BAR_FROM_WIDTH = 100
# Title, two lines of headings, rule, "and N more", and the line that the cursor is left on.
LINES_AROUND = 6


class View:
    """Shows the run directories of a plan from a separate thread, between ``start`` and ``stop``."""

    def __init__(self, plan: Plan, at_once: Callable[[], int], notes: Callable[[], Mapping[str, str]] = dict) -> None:
        """at_once: how many runs train side by side. notes: why runs have to wait, by their names."""
        self.plan = plan
        self._task = model_tasks.of(plan.cells[0].config.model if plan.cells else ModelConfig())
        self._notes, self._waiting = notes, ""
        self._at_once = at_once
        self._survey = Survey(plan)
        self.console = Console(stderr=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="view", daemon=True)
        self._printed: dict[str, tuple[str, int]] = {}
        self._drawn: tuple[object, ...] = ()

    def start(self) -> View:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        if not self.console.is_terminal:
            for rows in self._looks():
                self._print_changes(rows)
            self._print_changes(self._survey.rows(whole=True))
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            for rows in self._looks():
                what = (rows, self.console.size, dict(self._notes()))
                if what != self._drawn:
                    self._drawn = what
                    live.update(self._table(rows), refresh=True)

    def _looks(self) -> Iterator[list[Progress]]:
        """The rows, again and again until the view is stopped, less often if looking and drawing take long."""
        pause = INTERVAL_SECONDS
        while not self._stop.wait(pause):
            began = time.perf_counter()
            yield self._survey.rows()
            pause = max(INTERVAL_SECONDS, (time.perf_counter() - began) / SHARE)

    def _print_changes(self, rows: list[Progress]) -> None:
        if (waiting := _counted(self._notes())) != self._waiting:
            self._waiting = waiting
            if waiting:
                self.console.print(f"waiting: {waiting}", highlight=False, markup=False, soft_wrap=True)
        all_left = seconds_left(rows, self._at_once())
        for row in rows:
            state = (row.status, row.epoch)
            if self._printed.setdefault(row.run.name, ("pending", 0)) == state:
                continue
            self._printed[row.run.name] = state
            line = f"{row.run.name}: {row.status}"
            if row.epoch:
                line += f", epoch {row.epoch}/{row.epochs}, {model_tasks.scores_text(row.scores, self._task)}"
            if row.status == "failed":
                line += f", {row.error}"
            if row.status == "running" and all_left is not None:
                line += f", {duration(all_left)} left in all"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self, rows: list[Progress]) -> RenderableType:
        """Every run if they fit, else those of ``_fitting``. On a narrow terminal only the run's name is cut."""
        width, height = self.console.size
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        # rich narrows a column that must not wrap only after those that may.
        table.add_column("run", overflow="ellipsis")
        table.add_column("status", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        if width >= BAR_FROM_WIDTH:
            table.add_column("", no_wrap=True)
        for name in (*self._score_names(width), "left"):
            table.add_column(name, justify="right", no_wrap=True)
        notes = self._notes()
        fitting = _fitting(rows, max(1, height - LINES_AROUND))
        for row in fitting:
            status = row.status + (" (resumed)" if row.resumed and row.status in ("running", "done") else "")
            if note := notes.get(row.run.name):
                status += f" ({note})"
            bar = [ProgressBar(row.epochs, row.epoch, width=16)] if width >= BAR_FROM_WIDTH else []
            table.add_row(
                Text(row.run.name, no_wrap=True, overflow="ellipsis"),
                Text(status, COLOURS[row.status]),
                f"{row.epoch}/{row.epochs}",
                *bar,
                *(f"{row.scores[key]:.3f}" if key in row.scores else "" for key in self._task.scores),
                "" if row.status in ("done", "failed") else duration(row.left),
            )
        more = [Text(f"and {len(rows) - len(fitting)} more", "dim")] if len(fitting) < len(rows) else []
        return Group(self._title(rows, width), table, *more)

    def _score_names(self, width: int) -> tuple[str, str]:
        """The headings of the two metrics."""
        if metric := self._task.metric:
            return f"{metric}\nmAP50", f"{metric}\n50-95"
        first, second = (self._task.title(key) for key in self._task.scores)
        return first, second if width >= BAR_FROM_WIDTH else second.replace("50-95", "50\n-95")

    def _title(self, rows: list[Progress], width: int) -> Text:
        done = sum(row.status == "done" for row in rows)
        left = duration(seconds_left(rows, self._at_once()))
        state = f": {done} of {len(rows)} runs done, {left} left"
        name = Text(self.plan.name)
        name.truncate(max(1, width - len(state)), overflow="ellipsis")
        return Text.assemble((name.plain, "bold"), state, no_wrap=True)


def _counted(notes: Mapping[str, str]) -> str:
    """``2 Resources, 10 JobArrayTaskLimit``."""
    return ", ".join(f"{count} {note}" for note, count in Counter(notes.values()).most_common())


def _fitting(rows: list[Progress], limit: int) -> list[Progress]:
    """At most ``limit`` rows, in the order of ORDER if that leaves some out; of those done, the last."""
    if len(rows) <= limit:
        return rows
    fitting: list[Progress] = []
    for status in ORDER:
        same_status = [row for row in rows if row.status == status]
        free = limit - len(fitting)
        fitting += same_status[max(0, len(same_status) - free) :] if status == "done" else same_status[:free]
    return fitting
