"""Local executor: threads of this process, each of which supervises one training process at a time."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent import futures

from acmix_exp.config import HardwareConfig
from acmix_exp.run import packing
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, Command, holder, supervise

PACKING_SECONDS = 2.0  # between two looks whether the first epoch has shown how many runs fit
BUSY_SECONDS = 1.0  # between two looks at a run that another process holds


class LocalExecutor:
    """An Executor of ``hardware.runs_at_once`` threads; with ``auto`` their number grows once, after a first epoch.

    A run that another process holds is waited for, and taken over if that process leaves it unfinished. The kernel
    kills a child when the thread that started it ends, so every thread lives until its child has ended.
    """

    def __init__(self, runs: Sequence[Run], hardware: HardwareConfig) -> None:
        """Raises ConfigError as ``devices.gpus``."""
        attempts = {run: run.ended_attempts() for run in runs}
        self._command = Command(attempts=attempts, runs_at_once=lambda hardware: self._at_once)
        self._hardware, self._at_once = hardware, packing.smallest(hardware)
        self._undecided, self._created, self._begun = hardware.runs_at_once == packing.AUTO, time.time(), set[Run]()
        self._waiting, self._held_elsewhere = deque(runs), deque[Run]()
        self._said: set[Run] = set()
        self._most = len(runs)
        slots = min(packing.largest(hardware), self._most)
        self._pool = futures.ThreadPoolExecutor(slots, thread_name_prefix="run slot")
        self._working: list[futures.Future[None]] = []

    def start(self) -> None:
        more = min(self._at_once, self._most) - len(self._working)
        self._working += [self._pool.submit(self._supervise_runs) for _ in range(more)]

    def wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            # Not by Thread.join, which takes the thread for ended if a signal's exception interrupts it (Python 3.11).
            ended, working = futures.wait(
                self._working, min(left, PACKING_SECONDS) if self._undecided else left, futures.FIRST_EXCEPTION
            )
            for slot in ended:
                slot.result()
            if not working or left == 0:
                return not working
            if self._undecided:
                self._decide()

    def _decide(self) -> None:
        """Start more runs if the first epoch of one has shown that they fit."""
        for run in list(self._begun):
            memory = run.provenance().get("memory") or {}
            if memory.get("time", 0) < self._created:
                continue
            self._undecided, self._at_once = False, packing.that_fit(self._hardware, memory)
            used, total = (memory[key] / 1024 for key in ("used_mb", "total_mb"))
            print(
                f"acmix_exp: hardware.runs_at_once=auto: {self._at_once} at once; {run.name} takes {used:.1f} of "
                f"{total:.1f} GB",
                file=sys.stderr,
            )
            self.start()
            return

    def at_once(self) -> int:
        return self._at_once

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
            self._begun.add(run)
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
