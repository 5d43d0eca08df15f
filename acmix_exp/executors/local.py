"""Local executor: threads of this process, each of which supervises one training process at a time."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from concurrent import futures

from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, Command, holder, supervise

BUSY_SECONDS = 1.0  # between two looks at a run that another process holds


class LocalExecutor:
    """An Executor of ``runs_at_once`` threads.

    A run that another process holds is waited for, and taken over if that process leaves it unfinished. The kernel
    kills a child when the thread that started it ends, so every thread lives until its child has ended.
    """

    def __init__(self, runs: Sequence[Run], runs_at_once: int) -> None:
        self._command = Command(attempts={run: run.ended_attempts() for run in runs})
        self._waiting, self._held_elsewhere = deque(runs), deque[Run]()
        self._said: set[Run] = set()
        self._slots = min(runs_at_once, len(runs))
        self._pool = futures.ThreadPoolExecutor(self._slots, thread_name_prefix="run slot")
        self._working: list[futures.Future[None]] = []

    def start(self) -> None:
        self._working = [self._pool.submit(self._supervise_runs) for _ in range(self._slots)]

    def wait(self, seconds: float) -> bool:
        # Not by Thread.join, which takes the thread for ended if a signal's exception interrupts it (Python 3.11).
        ended, working = futures.wait(self._working, seconds, futures.FIRST_EXCEPTION)
        for slot in ended:
            slot.result()
        return not working

    def interrupt(self) -> str | None:
        self._command.stop.set()
        self._pool.shutdown()
        return None

    def notes(self) -> dict[str, str]:
        return {}

    def _supervise_runs(self) -> None:
        while not self._command.stop.is_set():
            if (run := _first(self._waiting)) is None:
                if (run := _first(self._held_elsewhere)) is None:
                    return
                if run.is_done():
                    continue
                if self._command.stop.wait(BUSY_SECONDS):
                    return
            if supervise(run, self._command) == BUSY:
                self._held_elsewhere.append(run)
                self._say_who_holds(run)

    def _say_who_holds(self, run: Run) -> None:
        """Say it once, unless the other process has only just begun, or prepares the run."""
        if run not in self._said and run.state() == "running":
            self._said.add(run)
            print(f"{run.name}: {holder(run)} is at work on it; waiting for that", file=sys.stderr)


def _first(runs: deque[Run]) -> Run | None:
    try:
        return runs.popleft()
    except IndexError:
        return None
