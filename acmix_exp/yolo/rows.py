"""An epoch as one flat row."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

NAMES = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "map50": "metrics/mAP50(B)",
    "map50_95": "metrics/mAP50-95(B)",
    "lr": "lr/pg0",
}
LOSSES = ("box_loss", "cls_loss", "dfl_loss")


def epoch_row(
    epoch: int, metrics: Mapping[str, float], seconds: float, blocks: Mapping[str, nn.Module]
) -> dict[str, float]:
    """``epoch`` from 1, losses, metrics of the averaged (EMA) network, its blocks' rates, seconds it took."""
    row: dict[str, float] = {"epoch": epoch}
    row |= {f"{split}/{loss}": float(metrics[f"{split}/{loss}"]) for split in ("train", "val") for loss in LOSSES}
    row |= {name: float(metrics[key]) for name, key in NAMES.items()}
    row["seconds"] = seconds
    for site, block in blocks.items():
        for rate in ("rate1", "rate2"):
            value = getattr(block, rate, None)
            if value is not None:
                row[f"rates/{site}/{rate}"] = float(value.detach())
    return row
