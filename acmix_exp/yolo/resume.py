"""Resume a run: find its last complete epoch and make its files consistent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acmix_exp import files
from acmix_exp.errors import CheckpointError, ConfigError, storage_fault
from acmix_exp.yolo.pretrained import is_checkpoint

if TYPE_CHECKING:
    from torch import nn

FILE = "progress.json"


@dataclass
class Progress:
    """Progress of a run. rows: as passed to ``on_epoch``, from epoch 1. fitness: ultralytics' score of each epoch."""

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
        """The epoch of best.pt: that of the highest fitness, and of equals the last."""
        return max(range(self.epochs), key=lambda i: (self.fitness[i], i)) + 1

    def save(self, folder: Path) -> None:
        files.write_text(folder / FILE, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """Read the file. Raises CheckpointError if it is missing or damaged."""
        try:
            progress = cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
            if [row["epoch"] for row in progress.rows] != list(range(1, len(progress.fitness) + 1)):
                raise ValueError("epochs are missing")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{folder / FILE}: cannot be resumed from ({error})") from error
        return progress


def restore(weights: Path, epochs: int) -> Progress:
    """Progress of a run up to its last.pt; best.pt is made consistent. ``epochs``: number of epochs of the run.

    Raises CheckpointError if one of the three files is missing or damaged.
    """
    progress = Progress.load(weights)
    _, checkpoint = load(weights / "last.pt")
    # At the end of a run the optimizer's state is removed, and the epoch with it.
    epoch = epochs if checkpoint["epoch"] == -1 else int(checkpoint["epoch"]) + 1
    del progress.rows[epoch:], progress.fitness[epoch:]  # of epochs whose weights were not saved
    if progress.epochs != epoch:
        raise CheckpointError(f"{weights / 'last.pt'}: has epoch {epoch}, but its progress file {progress.epochs}")
    best = weights / "best.pt"
    if progress.best_epoch == epoch:  # the run may have been killed between writing last.pt and best.pt
        with files.replacing(best) as copy:
            copy.write((weights / "last.pt").read_bytes())
    elif not is_checkpoint(best):
        raise CheckpointError(f"{best}: missing or not a complete checkpoint")
    return progress


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint (float32, eval mode, on the CPU) and its content. Raises CheckpointError,
    and ConfigError if reading it could run code."""
    from acmix_exp.yolo import checkpoints

    try:
        return checkpoints.load(path)
    except ConfigError:  # it could run code: not a damaged file, so nothing is deleted
        raise
    except Exception as error:  # a truncated or altered pickle can raise any exception
        if storage_fault(error):  # the disk is full: nothing is wrong with the file
            raise
        raise CheckpointError(f"{path}: cannot be loaded ({error})") from error
