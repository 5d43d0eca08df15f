"""Who supervises a run: a process of a host, perhaps in a job of a cluster. Written to status.json and to the claim."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from acmix_exp.child import is_alive, start_time


@dataclass(frozen=True)
class Owner:
    """A process that supervises runs.

    start: when it began, in ticks of the kernel, for the number of a dead process may be another's. boot: the start of
    the machine, as its containers see it too; process numbers are comparable within ``pids``. Both are None where the
    system does not tell. job: the cluster's job that the process is in. requeues: how often that job was started anew.
    """

    host: str = ""
    pid: int = 0
    start: int | None = None
    boot: str | None = None
    pids: str | None = None
    job: str | None = None
    requeues: int = 0

    @classmethod
    def here(cls) -> Owner:
        """This process. Of Slurm's variables it reads SLURM_JOB_ID, the job's own in an array too."""
        boot, pids = _kernel()
        job, requeues = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", "")
        number = int(requeues) if requeues.isdecimal() else 0
        return cls(platform.node(), os.getpid(), start_time(os.getpid()), boot, pids, job or None, number)

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Owner | None:
        """The owner in a status.json, or in one of version 0.2, where its parts stand beside the status.

        None if it holds none.
        """
        value = value or {}
        owner = value.get("owner")
        if isinstance(owner, int):
            owner = {"pid": owner, **{key: value[key] for key in ("host", "boot", "pids") if key in value}}
        return cls.read(owner)

    @classmethod
    def read(cls, value: object) -> Owner | None:
        """An owner from what :meth:`record` returned; None if it is not of that form."""
        if not isinstance(value, dict):
            return None
        types = {"host": str, "pid": int, "start": int, "boot": str, "pids": str, "job": str, "requeues": int}
        return cls(**{key: value[key] for key, kind in types.items() if isinstance(value.get(key), kind)})

    def record(self) -> dict[str, Any]:
        """Plain data for a JSON file, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def on_kernel_of(self, other: Owner) -> bool:
        """Whether both run on one machine, perhaps in different containers; by the host's name if nothing better."""
        return self.boot == other.boot if self.boot and other.boot else self.host == other.host

    def alive(self, here: Owner) -> bool | None:
        """Whether this process is alive, as ``here`` can tell; None: only its heartbeat can."""
        comparable = self.pids == here.pids if self.pids and here.pids else self.on_kernel_of(here)
        if comparable:
            alive = is_alive(self.pid, self.start)
            return None if alive and self.start is None and here.start is not None else alive
        if self.job is not None and self.job == here.job and self.requeues < here.requeues:
            return False  # the job was started anew: what it was before has ended
        return None

    def __str__(self) -> str:
        job = f" (job {self.job})" if self.job else ""
        return f"process {self.pid} on {self.host or 'an unknown host'}{job}"


@cache
def _kernel() -> tuple[str | None, str | None]:
    """``boot`` and ``pids`` of this process; Linux only."""
    boot = pids = None
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        pids = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return boot, pids
