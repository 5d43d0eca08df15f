"""The ultralytics arguments that a run sets itself, so that ``train.extra`` may not. No torch."""

from __future__ import annotations

from typing import Any

_FIXED = "acmix_exp itself; it is the same in every run"
_RUN_DIR = "the run directory, under runs_dir"

# argument: who sets it
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
    "nbs": "train.batch (an optimizer step a batch)",
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
    "resume": "the run's status: run the same command again",
    "project": _RUN_DIR,
    "name": _RUN_DIR,
    "exist_ok": _RUN_DIR,
    "save_dir": _RUN_DIR,
}


def refused(extra: dict[str, Any]) -> list[str]:
    """One line for each of ``train.extra`` that it may not set."""
    lines = [
        f"train.extra.{key}={value}: set by {OWNED_ARGS[key]}" for key, value in extra.items() if key in OWNED_ARGS
    ]
    if str(extra.get("cache")).lower() == "disk":
        lines.append(f"train.extra.cache={extra['cache']}: would write beside the images; must be ram or false")
    return lines
