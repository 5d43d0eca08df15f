"""Records of a training run: the row of an epoch, the hash of the first batches, the peak memory."""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from acmix_exp.model_tasks import DETECT, TASKS, ModelTask, scores_text

SPLITS = ("train", "val")
METRIC_KEYS = {  # our name: ultralytics' key, before the letter of the task's headline
    "precision": "metrics/precision",
    "recall": "metrics/recall",
    "map50": "metrics/mAP50",
    "map50_95": "metrics/mAP50-95",
}
CLASS_KEYS = {"top1": "metrics/accuracy_top1", "top5": "metrics/accuracy_top5"}


def epoch_row(
    epoch: int,
    metrics: Mapping[str, float],
    seconds: float,
    blocks: Mapping[str, nn.Module],
    task: ModelTask = TASKS[DETECT],
) -> dict[str, float]:
    """Row of an epoch: number (from 1), losses, metrics of the averaged (EMA) network, rates of its blocks, seconds.

    The losses are those of the network's criterion, such as ``train/box_loss`` and ``val/box_loss``.
    """
    row: dict[str, float] = {"epoch": epoch}
    row |= {key: float(metrics[key]) for split in SPLITS for key in metrics if key.startswith(f"{split}/")}
    keys = {name: f"{key}({task.letter})" for name, key in METRIC_KEYS.items()} if task.letter else CLASS_KEYS
    row |= {name: float(metrics[key]) for name, key in keys.items()}
    row["lr"] = float(metrics["lr/pg0"])
    row["seconds"] = seconds
    for site, block in blocks.items():
        for rate in ("rate1", "rate2"):
            value = getattr(block, rate, None)
            if value is not None:
                row[f"rates/{site}/{rate}"] = float(value.detach())
    return row


def is_loss(key: str) -> bool:
    """Whether a key of a row is that of a loss, on train or val."""
    return key.startswith(tuple(f"{split}/" for split in SPLITS))


def epoch_line(row: Mapping[str, float], epochs: int, task: ModelTask = TASKS[DETECT]) -> str:
    """A row as one line of text; ``epochs`` is the number of epochs of the run."""
    losses = {split: ", ".join(_loss(key, row[key]) for key in row if key.startswith(f"{split}/")) for split in SPLITS}
    return (
        f"epoch {row['epoch']}/{epochs}: train loss {losses['train']}; val loss {losses['val']}; "
        f"{scores_text(row, task)}; {row['seconds']:.1f} s"
    )


def _loss(key: str, value: float) -> str:
    return f"{key.partition('/')[2].removesuffix('loss').rstrip('_')} {value:.3f}".lstrip()


BATCHES = 3
PROVEN = ("img", "cls", "bboxes", "batch_idx", "masks", "keypoints")


class SeedProof:
    """SHA-256 over images (uint8), classes, boxes, image indices, masks and keypoints of the first batches."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._remaining = BATCHES

    def add(self, batch: dict[str, Any]) -> None:
        """Add a batch of the loader; batches after the first :data:`BATCHES` are ignored."""
        if not self._remaining:
            return
        self._remaining -= 1
        for key in PROVEN:
            if key not in batch:
                continue
            array = batch[key].detach().cpu().contiguous().numpy()
            self._hash.update(f"{key}{array.shape}{array.dtype}".encode())
            self._hash.update(array.tobytes())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def joint_proof(proofs: Sequence[str]) -> str:
    """SHA-256 over the proofs of all ranks of a run, in their order."""
    return hashlib.sha256(" ".join(proofs).encode()).hexdigest()


def peak_mb(device: torch.device) -> float:
    """Peak memory of this process in MiB: allocated by torch on a GPU, resident on a CPU (without loader processes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
