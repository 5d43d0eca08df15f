"""Finding out where a run stopped, and making its files whole again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn.tasks import load_checkpoint

from acmix_exp.yolo.checkpoint_header import is_checkpoint
from acmix_exp.yolo.errors import CheckpointError
from acmix_exp.yolo.progress import Progress


def restore(weights: Path, epochs: int) -> Progress:
    """The progress of a run up to its last.pt, with best.pt in step; ``epochs`` is how many the run trains.

    Raises CheckpointError where one of the three files is missing or damaged.
    """
    progress = Progress.load(weights)
    _, checkpoint = _load(weights / "last.pt")
    # the end of a run strips the optimizer's state and the epoch with it
    epoch = epochs if checkpoint["epoch"] == -1 else int(checkpoint["epoch"]) + 1
    progress.truncate(epoch)
    if progress.epochs != epoch:
        raise CheckpointError(f"{weights / 'last.pt'}: is of epoch {epoch}, its progress of {progress.epochs}")
    best = weights / "best.pt"
    if progress.best_epoch == epoch:  # it may have been killed between writing one and the other
        temporary = weights / ".best.pt.tmp"
        shutil.copyfile(weights / "last.pt", temporary)
        os.replace(temporary, best)
    elif not is_checkpoint(best):
        raise CheckpointError(f"{best}: missing or not a whole checkpoint")
    return progress


def load_last(weights: Path) -> nn.Module:
    """The network of last.pt: float32, eval, on the CPU."""
    model, _ = _load(weights / "last.pt")
    return model


def _load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    try:
        return load_checkpoint(path)
    except Exception as error:  # a pickle cut or altered can raise anything
        raise CheckpointError(f"{path}: cannot be loaded ({error})") from error
