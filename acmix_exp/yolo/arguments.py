"""A config as ultralytics' train arguments."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.config import Config
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.sites import LAYERS

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


Rule = tuple[Callable[[Any], bool], str]  # whether a value is fine, and what would be
DETECT = max(index for index, _, _ in LAYERS.values()) + 1  # the last layer


def faults(arguments: dict[str, Any]) -> list[str]:
    """One line for each of ``train.extra`` that ultralytics does not know, refuses, or takes and does not heed.

    Says nothing of what ``train.extra`` may not set: see :func:`acmix_exp.yolo.arguments.refused`.
    """
    lines = []
    for name, value in arguments.items():
        if name in OWNED_ARGS:
            continue
        line = f"train.extra.{name}={value}"
        if name not in defaults():
            close = difflib.get_close_matches(name, defaults().keys() - OWNED_ARGS.keys(), n=1)
            hint = f"did you mean train.extra.{close[0]}?" if close else "see ultralytics' train arguments"
            lines.append(f"{line}: no such ultralytics argument; {hint}")
        elif rule := _rule(name):
            fine, right = rule
            optional = defaults()[name] is None or name in ("auto_augment", "cache")
            if not (optional if value is None else fine(value)):
                lines.append(f"{line}: must be {right}")
    return lines


def in_fraction(name: str, value: Any) -> bool:
    """False where ultralytics wants ``name`` from 0 to 1 and ``value`` is not."""
    return name not in types()["FRACTION"] or _is_fraction(value)


@lru_cache(maxsize=1)
def defaults() -> dict[str, Any]:
    """Every argument with its default."""
    return dict(yaml.safe_load((_package() / "cfg" / "default.yaml").read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def types() -> dict[str, Any]:
    """Names of arguments by type, FLOAT, FRACTION, INT, BOOL and STR; INT_MIN has the least of some."""
    wanted = {f"CFG_{kind}_KEYS": kind for kind in ("FLOAT", "FRACTION", "INT", "BOOL", "STR")}
    wanted["CFG_INT_MIN"] = "INT_MIN"
    found: dict[str, Any] = {kind: frozenset() for kind in wanted.values()} | {"INT_MIN": {}}
    for node in ast.parse((_package() / "cfg" / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted:
            literal = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            found[wanted[node.targets[0].id]] = ast.literal_eval(literal)
    return found


def _package() -> Path:
    spec = find_spec("ultralytics")  # of a top-level package: finds it without importing it
    if spec is None or spec.origin is None:
        raise ConfigError("ultralytics is not installed; install acmix_exp again")
    return Path(spec.origin).parent


def _rule(name: str) -> Rule | None:
    if name in RULES:
        return RULES[name]
    kind = next((kind for kind in ("FLOAT", "FRACTION", "INT", "BOOL", "STR") if name in types()[kind]), None)
    if kind == "INT":
        least = types()["INT_MIN"].get(name)
        fine: Callable[[Any], bool] = lambda value: _is_whole(value) and (least is None or value >= least)  # noqa: E731
        return fine, "a whole number" + ("" if least is None else f" from {least}")
    return BY_TYPE[kind] if kind else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_part(value: Any) -> bool:
    """Of a data set: a ratio or a count of images, or one each of train, val and, left out or not, test."""
    if isinstance(value, list):
        return (
            len(value) in (2, 3)
            and all(value[:2])
            and all(type(v) in (int, float) and v >= 0 and (type(v) is int or v <= 1) for v in value)
        )
    return type(value) in (int, float) and value > 0 and (value <= 1 or type(value) is int)


def _is_scale(value: Any) -> bool:
    pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))
    return pair or _is_fraction(value)


def _is_freeze(value: Any) -> bool:
    if isinstance(value, list):
        return all(type(v) in (int, str) for v in value)
    return type(value) is int and 0 <= value <= DETECT


BY_TYPE: dict[str, Rule] = {
    "FLOAT": (_is_number, "a number"),
    "FRACTION": (_is_fraction, "a number from 0 to 1"),
    "BOOL": (lambda value: isinstance(value, bool), "true or false"),
    "STR": (lambda value: isinstance(value, str), "a text"),
}
RULES: dict[str, Rule] = {
    "fraction": (_is_part, "a number above 0 up to 1, a whole number of images from 2, or a list [train, val] of such"),
    "scale": (_is_scale, "a number from 0 to 1, or a list of two numbers"),
    "freeze": (
        _is_freeze,
        f"how many layers from the first, 0 to {DETECT}, or a list of layer indices or names of modules",
    ),
    "cache": (lambda value: isinstance(value, bool) or str(value).lower() in ("ram", "disk"), "ram or false"),
    "copy_paste_mode": (lambda value: value in ("flip", "mixup"), "flip or mixup"),
}


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
