"""The train arguments of ultralytics: which of them a config sets, and which are left to ``train.extra``. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acmix_exp.config import Config
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.families import YOLOV8

_FIXED = "acmix_exp itself; it is the same in every run"
_RUN_DIR = "the run directory, under runs_dir"

# argument: what sets it
OWNED_ARGS = {
    "task": _FIXED,
    "mode": _FIXED,
    "cfg": _FIXED,
    "model": "model.name and model.scale",
    "pretrained": "model.pretrained",
    "data": "dataset.name and dataset.path",
    "classes": "dataset.name and dataset.path",
    "single_cls": "dataset.name and dataset.path",
    "epochs": "train.epochs",
    "time": "train.epochs",
    "patience": _FIXED + " (0: every run trains all its epochs)",
    "batch": "train.batch",
    "nbs": "train.batch (one optimizer step per batch)",
    "imgsz": "train.imgsz",
    "optimizer": "train.optimizer",
    "lr0": "train.lr0",
    "seed": "seed",
    "deterministic": _FIXED,
    "device": "hardware.device",
    "workers": "hardware.workers",
    "amp": "hardware.precision",
    "quantize": "hardware.precision",
    "compile": _FIXED,
    "distill_model": _FIXED,
    "val": _FIXED,
    "split": _FIXED,
    "save": "train.keep",
    "save_period": "train.keep",
    "save_json": _FIXED,
    "save_txt": _FIXED,
    "save_conf": _FIXED,
    "plots": _FIXED,
    "visualize": _FIXED,
    "profile": _FIXED,
    "verbose": _FIXED,
    "resume": "the run's status: rerun the same command to resume",
    "project": _RUN_DIR,
    "name": _RUN_DIR,
    "exist_ok": _RUN_DIR,
    "save_dir": _RUN_DIR,
}


def refused(extra: dict[str, Any]) -> list[str]:
    """One line for each of ``train.extra`` that another key sets, or that ultralytics would ignore silently.

    Names and types that ultralytics checks itself are left to yolo/preflight.py.
    """
    lines = []
    for key, value in extra.items():
        if key in OWNED_ARGS:
            lines.append(f"train.extra.{key}={value}: set by {OWNED_ARGS[key]}")
        elif key == "cache" and str(value).lower() == "disk":
            lines.append(f"train.extra.cache={value}: would write beside the images; must be ram or false")
        elif key == "cache" and not (value is None or isinstance(value, bool) or str(value).lower() == "ram"):
            lines.append(f"train.extra.cache={value}: must be ram or false")
        elif key == "copy_paste_mode" and value not in ("flip", "mixup"):
            lines.append(f"train.extra.copy_paste_mode={value}: must be flip or mixup")
        elif key == "freeze" and not _can_freeze(value):
            lines.append(
                f"train.extra.freeze={value}: must be how many layers from the first, 0 to {YOLOV8.head}, or a list of "
                "layer indices or names of modules"
            )
    return lines


def _can_freeze(value: Any) -> bool:
    if isinstance(value, list):
        return all(type(item) in (int, str) for item in value)
    return value is None or (type(value) is int and 0 <= value <= YOLOV8.head)


AMP: dict[str, bool | str] = {"fp32": False, "fp16": True, "bf16": "bf16"}


def train_arguments(config: Config, data: Path, run_dir: Path, device: str | int) -> dict[str, Any]:
    """Overrides for the trainer: ``train.extra``, and the arguments that the other keys set.

    Raises ConfigError for what ``train.extra`` may not set and for a precision that the device does not have.
    """
    train = config.train
    if lines := refused(train.extra):
        raise ConfigError(*lines)
    return {
        **train.extra,
        "task": "detect",
        "mode": "train",
        "model": YOLOV8.yaml(config.model.scale),
        "pretrained": False,  # weights are transferred, and every tensor accounted for, when the network is built
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
