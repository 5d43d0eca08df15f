"""Cores that other processes used during a measurement; a load average would include this process."""

from __future__ import annotations

import os
import time

IDLE = (3, 4)  # idle and iowait, of a line of /proc/stat
COUNTED = 8  # user .. steal; later columns are included in these


class Watch:
    """Counts from its creation; ``others()`` is the average number of cores that other processes kept busy."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy()
        self._own = _own()

    def others(self) -> float | None:
        """Average cores used by other processes and by other guests of the host; None if the system does not tell."""
        busy = _busy()
        if busy is None or self._busy is None:
            return None
        seconds = time.monotonic() - self._began
        return max(0.0, busy - self._busy - (_own() - self._own)) / seconds


def _own() -> float:
    """CPU seconds of this process and its threads."""
    times = os.times()
    return times.user + times.system


def _busy() -> float | None:
    """CPU seconds of all processes, and those that the host gave to other guests."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1 : COUNTED + 1]]
    except OSError:
        return None
    return (sum(ticks) - sum(ticks[index] for index in IDLE)) / os.sysconf("SC_CLK_TCK")
