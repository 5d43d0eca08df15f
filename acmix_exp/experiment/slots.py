"""GPU slots: which of the runs at once may use which GPU. Held by flock, so a killed holder gives its slot back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def gpu_slot(gpus: Sequence[int], runs_at_once: int) -> Iterator[int | None]:
    """Wait for, hold and yield one GPU index; None at once where there are no GPUs.

    A GPU has ceil(runs_at_once / number of GPUs) slots. They are shared by all of a user's sweeps on the machine.
    """
    if not gpus:
        yield None
        return
    folder = Path(tempfile.gettempdir()) / f"acmix_exp-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    slots_per_gpu = -(-runs_at_once // len(gpus))
    while True:
        for slot in range(slots_per_gpu):
            for gpu in gpus:
                file = open(folder / f"gpu{gpu}.{slot}", "a", encoding="utf-8")  # noqa: SIM115
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    continue
                with file:
                    yield gpu
                return
        time.sleep(0.5)
