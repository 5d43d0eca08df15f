"""Reading last.pt back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.nn.tasks import load_checkpoint

from acmix_exp.yolo.errors import CheckpointError


def last_epoch(weights: Path, epochs: int) -> int:
    """How many epochs last.pt has behind it; all where its optimizer was stripped, as at the end of a run.

    Raises CheckpointError where it cannot be read.
    """
    _, checkpoint = _load(weights)
    epoch = checkpoint["epoch"]
    return epochs if epoch == -1 else int(epoch) + 1


def load_last(weights: Path) -> nn.Module:
    """The network of last.pt: float32, eval, on the CPU."""
    model, _ = _load(weights)
    return model


def _load(weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    try:
        return load_checkpoint(weights / "last.pt")
    except Exception as error:  # a pickle cut or altered can raise anything
        raise CheckpointError(f"{weights / 'last.pt'}: cannot be loaded ({error})") from error
