"""Runs on this machine: threads of this process, each of which supervises one child process at a time."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence

from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, Command, supervise

BUSY_SECONDS = 1.0  # between two looks at a run that another process holds


class LocalExecutor:
    """An Executor of ``runs_at_once`` threads.

    A run that another process holds is waited for, and taken over if that process leaves it unfinished. The kernel
    kills a child when the thread that started it ends, so every thread lives until its child has ended.
    """

    def __init__(self, runs: Sequence[Run], runs_at_once: int) -> None:
        self._command = Command(os.getpid(), time.time())
        self._waiting, self._held_elsewhere = deque(runs), deque[Run]()
        self._error: BaseException | None = None
        slots = range(min(runs_at_once, len(runs)))
        self._threads = [threading.Thread(target=self._work, name=f"run slot {slot}") for slot in slots]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        return not any(thread.is_alive() for thread in self._threads)

    def interrupt(self) -> None:
        self._command.stop.set()
        for thread in self._threads:
            if thread.ident is not None:  # started
                thread.join()

    def _work(self) -> None:
        try:
            self._supervise_runs()
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            self._error = error
            self._command.stop.set()

    def _supervise_runs(self) -> None:
        while not self._command.stop.is_set():
            if (run := _first(self._waiting)) is None:
                if (run := _first(self._held_elsewhere)) is None:
                    return
                if run.state() in ("done", "failed"):
                    continue
                if self._command.stop.wait(BUSY_SECONDS):
                    return
            if supervise(run, self._command) == BUSY:
                self._held_elsewhere.append(run)


def _first(runs: deque[Run]) -> Run | None:
    try:
        return runs.popleft()
    except IndexError:
        return None
