"""A run directory as read, and the rows and tables that runs are sorted into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from acmix_exp.run.directory import Run


@dataclass(frozen=True)
class Record:
    """One run directory as read: ``result`` is None where it is not done."""

    run: Run
    arm: str
    seed: int
    swept: dict[str, Any]
    config: dict[str, Any]
    status: dict[str, Any]
    result: dict[str, Any] | None
    provenance: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        return dict(self.provenance.get("identity") or {})

    @property
    def variant(self) -> tuple[Any, ...]:
        """What an inserting arm is about: block and path."""
        block = self.identity.get("block") or {}
        return (block.get("name"), block.get("path")) if self.inserts else ()

    @property
    def kind(self) -> tuple[Any, ...]:
        """Which block it inserts: by name, and by class where it is one of the user's own."""
        block = self.identity.get("block") or {}
        return (block.get("name"), block.get("target"))

    @property
    def inserts(self) -> bool:
        return bool(self.config["arm"]["insert"])

    @property
    def control(self) -> bool:
        """Whether it brings a block of its own, and so shares no block option with the other inserting arms."""
        return self.inserts and bool(self.config["arm"].get("control"))


@dataclass(frozen=True)
class Row:
    """An arm and one combination of swept values, with its finished runs by seed."""

    arm: str
    swept: dict[str, Any]
    runs: dict[int, Record] = field(default_factory=dict)
    unfinished: list[Record] = field(default_factory=list)
    repeated: list[Record] = field(default_factory=list)  # of a seed that has a run already

    @property
    def block(self) -> str | None:
        """The name of the block that its runs insert; None for the stock network."""
        found = [record.variant[0] for record in (*self.runs.values(), *self.unfinished) if record.variant]
        return str(found[0]) if found else None


@dataclass(frozen=True)
class Group:
    """Runs that differ in arm, seed and swept keys alone; ``settings`` says what they have in common."""

    settings: dict[str, Any]
    swept_keys: list[str]
    rows: list[Row]
