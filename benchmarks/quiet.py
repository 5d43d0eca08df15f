"""How much of the machine others had while something was timed: a load average does not tell them from us."""

from __future__ import annotations

import os
import time

IDLE = (3, 4)  # idle and iowait, of a line of /proc/stat
COUNTED = 8  # user .. steal; what follows is counted in these already


class Watch:
    """Started when made; ``others()`` is the number of cores that were busy since, less those we kept busy."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy()
        self._own = _own()

    def others(self) -> float | None:
        """Cores taken by other processes and other guests of the host, on average; None where it is not told."""
        busy = _busy()
        if busy is None or self._busy is None:
            return None
        seconds = time.monotonic() - self._began
        return max(0.0, busy - self._busy - (_own() - self._own)) / seconds


def _own() -> float:
    """Seconds of processor time of this process and its threads."""
    times = os.times()
    return times.user + times.system


def _busy() -> float | None:
    """Seconds of processor time of everybody, and what the host gave to others."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1 : COUNTED + 1]]
    except OSError:
        return None
    return (sum(ticks) - sum(ticks[index] for index in IDLE)) / os.sysconf("SC_CLK_TCK")
