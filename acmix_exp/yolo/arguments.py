"""A config as ultralytics' train arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acmix_exp.config import Config, ConfigError
from acmix_exp.yolo.owned_args import refused

AMP: dict[str, bool | str] = {"fp32": False, "fp16": True, "bf16": "bf16"}


def train_arguments(config: Config, data: Path, run_dir: Path, device: str | int) -> dict[str, Any]:
    """Overrides for the trainer: ``train.extra`` first, then what is ours, which it may not set.

    Raises ConfigError for what ``train.extra`` may not set and for a precision that the device has not.
    """
    train = config.train
    if lines := refused(train.extra):
        raise ConfigError(*lines)
    return {
        **train.extra,
        "task": "detect",
        "mode": "train",
        "model": f"yolov8{config.model.scale}.yaml",
        "pretrained": False,  # weights are transferred, and accounted for, when the network is built
        "data": str(data),
        "save_dir": str(run_dir),
        "device": str(device),
        "workers": config.hardware.workers,
        "amp": AMP[precision(config, device)],
        "seed": config.seed,
        "deterministic": True,
        "epochs": train.epochs,
        "imgsz": train.imgsz,
        "batch": train.batch,
        "nbs": train.batch,
        "optimizer": train.optimizer,
        "lr0": train.lr0,
        "patience": 0,
        "save": True,
        "val": True,
        "split": "val",
        "plots": False,
        "verbose": False,
    }


def precision(config: Config, device: str | int) -> str:
    """fp32, fp16 or bf16; ``auto`` is fp16 on a GPU, fp32 on a CPU. Raises ConfigError for half on a CPU."""
    wanted = config.hardware.precision
    if wanted == "auto":
        return "fp32" if device == "cpu" else "fp16"
    if wanted not in AMP:
        raise ConfigError(f"hardware.precision={wanted}: must be auto, {', '.join(AMP)}")
    if device == "cpu" and wanted != "fp32":
        raise ConfigError(f"hardware.precision={wanted}: needs a GPU; a CPU trains in fp32")
    return wanted
