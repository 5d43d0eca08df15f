"""What a run remembers besides its weights, to go on after it was killed: a JSON file. No torch."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from acmix_exp.yolo.errors import CheckpointError

FILE = "progress.json"


@dataclass
class Progress:
    """``rows``: one an epoch, as handed to ``on_epoch``. ``fitness``: what ultralytics ranks them by."""

    rows: list[dict[str, float]] = field(default_factory=list)
    fitness: list[float] = field(default_factory=list)
    audit: dict[str, list[str]] = field(default_factory=dict)
    seed_proof: str = ""
    peak_memory_mb: float = 0.0

    @property
    def epochs(self) -> int:
        return len(self.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch that best.pt is of: the fittest, and the later of equals."""
        return max(range(self.epochs), key=lambda i: (self.fitness[i], i)) + 1

    def row(self, epoch: int) -> dict[str, float]:
        """The row of an epoch, counted from 1."""
        return self.rows[epoch - 1]

    def truncate(self, epochs: int) -> None:
        """Forget epochs whose weights were not saved any more."""
        del self.rows[epochs:], self.fitness[epochs:]

    def save(self, folder: Path) -> None:
        temporary = folder / f".{FILE}.tmp"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        os.replace(temporary, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """Raises CheckpointError where the file is missing or cannot be read."""
        try:
            progress = cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
            if [row["epoch"] for row in progress.rows] != list(range(1, len(progress.fitness) + 1)):
                raise ValueError("epochs are missing")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{folder / FILE}: cannot be resumed from ({error})") from error
        return progress
