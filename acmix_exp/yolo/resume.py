"""Resume a run: find its last complete epoch and make its files consistent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acmix_exp import files
from acmix_exp.errors import CheckpointError, damage_of
from acmix_exp.yolo.pretrained import is_checkpoint

if TYPE_CHECKING:
    from torch import nn

FILE = "progress.json"
STATE = "training.state"  # not .pt: it holds no network


@dataclass
class Progress:
    """Progress of a run. rows: as passed to ``on_epoch``, from epoch 1. fitness: ultralytics' score of each epoch.

    conditions: what the numbers also depend on, such as versions and the kind of processor, of the last attempt.
    changes: in words, how they differed between attempts.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    fitness: list[float] = field(default_factory=list)
    audit: dict[str, list[str]] = field(default_factory=dict)
    seed_proof: str = ""
    peak_memory_mb: float = 0.0
    conditions: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        return len(self.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch of best.pt: that of the highest fitness, and of equals the last."""
        return max(range(self.epochs), key=lambda i: (self.fitness[i], i)) + 1

    def record_conditions(self, conditions: Mapping[str, str]) -> list[str]:
        """Record the conditions of a new attempt; returns how they differ from those of the attempt before."""
        changes = [
            f"{name} {before}, then {conditions[name]}"
            for name, before in self.conditions.items()
            if conditions.get(name, before) != before
        ]
        self.conditions = dict(conditions)
        self.changes += changes
        return changes

    def save(self, folder: Path) -> None:
        files.write_text(folder / FILE, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Progress:
        """Read the file. Raises CheckpointError if it is missing or damaged."""
        with damage_of(folder / FILE):
            progress = cls(**json.loads((folder / FILE).read_text(encoding="utf-8")))
            if [row["epoch"] for row in progress.rows] != list(range(1, len(progress.fitness) + 1)):
                raise ValueError("epochs are missing")
        return progress


def restore(weights: Path, epochs: int) -> tuple[Progress, dict[str, Any] | None]:
    """Progress of a run and the state to continue from; None if all its ``epochs`` are trained.

    The state is written after last.pt and best.pt, and removed after those of the last epoch: if the run was killed
    between them, the epochs after the state are trained again, with the same results. With all epochs trained, best.pt
    is made consistent. Raises CheckpointError if a file that is needed is missing or damaged.
    """
    from acmix_exp.yolo import training_state

    progress, path = Progress.load(weights), weights / STATE
    if path.exists():
        state = training_state.read(path)
        epoch = state["epoch"]
        if not 0 < epoch <= min(progress.epochs, epochs - 1):
            raise CheckpointError(f"{path}: has epoch {epoch}, but {weights / FILE} {progress.epochs}")
        del progress.rows[epoch:], progress.fitness[epoch:]
        return progress, state
    if progress.epochs < epochs:
        raise CheckpointError(f"{path}: none was saved yet")
    _, checkpoint = load(weights / "last.pt")
    if checkpoint["epoch"] not in (-1, epochs - 1):  # -1 once the optimizer's state is removed
        raise CheckpointError(f"{weights / 'last.pt'}: is of epoch {checkpoint['epoch'] + 1}, not {epochs}")
    best = weights / "best.pt"
    if progress.best_epoch == epochs:  # the run may have been killed between writing last.pt and best.pt
        with files.replacing(best) as copy:
            copy.write((weights / "last.pt").read_bytes())
    elif not is_checkpoint(best):
        raise CheckpointError(f"{best}: missing or not a complete checkpoint")
    return progress, None


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint (float32, eval mode, on the CPU) and its content. Raises CheckpointError,
    and ConfigError if reading it could run code."""
    from acmix_exp.yolo import checkpoints

    with damage_of(path):
        return checkpoints.load(path)
