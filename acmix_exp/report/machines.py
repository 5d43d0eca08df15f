"""On which kind of machine a table's times were measured: those of different kinds are never averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from acmix_exp.report.records import Record, Row


def kind(hardware: Any) -> str:
    """The hardware of a provenance.json or profile.json in words: the GPU that was used, else the CPU with its cores.

    Empty where it was not recorded.
    """
    if not isinstance(hardware, dict):
        return ""
    if hardware.get("gpu"):
        return str(hardware["gpu"])
    cores = f" ({hardware['cores']} cores)" if hardware.get("cores") else ""
    return f"{hardware['cpu']}{cores}" if hardware.get("cpu") else ""


def machine(record: Record) -> str:
    """The kind of machine that a run was trained and timed on."""
    return kind(record.provenance.get("hardware"))


def machines(row: Row) -> Counter[str]:
    """How many finished runs a row has on each kind of machine."""
    return Counter(machine(run) for run in row.runs.values())


def timed_on(rows: Sequence[Row], reference: str, preferred: str | None = None) -> str | None:
    """The kind of machine whose times stand in a table: one that every row with a finished run has runs on, the
    ``preferred`` one first; where there is none, one of the reference's. None without finished runs.

    Of several the one with the most rows, then runs.
    """
    counts = [(row.arm == reference, machines(row)) for row in rows if row.runs]
    found = dict.fromkeys(name for _, counted in counts for name in counted)

    def rank(name: str) -> tuple[bool, bool, bool, int, int]:
        having = [is_reference for is_reference, counted in counts if name in counted]
        everywhere = len(having) == len(counts)
        runs = sum(counted[name] for _, counted in counts)
        return everywhere, everywhere and name == preferred, any(having), len(having), runs

    return max(found, key=rank, default=None)
