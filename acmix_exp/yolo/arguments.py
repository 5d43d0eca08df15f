"""The train arguments of ultralytics: which of them a config sets, and which are left to ``train.extra``."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from acmix_exp import model_tasks
from acmix_exp.config import Config, HardwareConfig, ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo import families
from acmix_exp.yolo.sites import Network

_FIXED = "acmix_exp itself; it is the same in every run"
_OWNERS = {  # what sets an argument: the arguments
    _FIXED: "task mode cfg deterministic compile distill_model val split save_json save_txt save_conf plots visualize "
    "profile verbose",
    f"{_FIXED} (0: every run trains all its epochs)": "patience",
    "model.family and model.scale": "model",
    "model.pretrained": "pretrained",
    "dataset.name and dataset.path": "data classes single_cls",
    "train.epochs": "epochs time",
    "train.batch": "batch",
    "train.batch (one optimizer step per batch)": "nbs",
    "train.imgsz": "imgsz",
    "train.optimizer": "optimizer",
    "train.lr0": "lr0",
    "train.keep": "save save_period",
    "seed": "seed",
    "hardware.device": "device",
    "hardware.workers": "workers",
    "hardware.precision": "amp quantize",
    "the run's status: rerun the same command to resume": "resume",
    "the run directory, under runs_dir": "project name exist_ok save_dir",
}
# Arguments of ultralytics that the training of a detector does not read: predicting, exporting, tracking, other tasks.
_UNUSED = (
    "source vid_stride stream_buffer augment retina_masks embed show save_frames save_crop show_labels show_conf "
    "show_boxes line_width format optimize dynamic simplify opset workspace tracker dnn overlap_mask mask_ratio "
    "dropout pose kobj rle angle dlog dgrad dlam auto_augment erasing cls_remap"
)
UNUSED_ARGS = frozenset(_UNUSED.split())
USED_BY = {  # those of them that the training of another task reads
    "segment": ("overlap_mask", "mask_ratio"),
    "pose": ("pose", "kobj", "rle"),
    "obb": ("angle",),
    "classify": ("dropout", "auto_augment", "erasing"),
}
# And those that the training of a classifier does not read: it crops one image, and has no boxes. The first may be 0.
_OFF = "mosaic mixup cutmix copy_paste close_mosaic degrees translate shear perspective bgr multi_scale rect"
OFF_IN_CLASSIFIERS = frozenset(_OFF.split())
UNUSED_BY_CLASSIFIERS = OFF_IN_CLASSIFIERS | frozenset(
    ("copy_paste_mode", "box", "cls", "cls_pw", "dfl", "iou", "conf", "max_det", "nms", "agnostic_nms")
)
# And those that the training of an RT-DETR does not read: its images are square, its losses and boxes its own.
UNUSED_BY_TRANSFORMERS = ("rect", "box", "cls", "cls_pw", "dfl", "iou", "nms", "agnostic_nms")
OWNED_ARGS = {argument: owner for owner, arguments in _OWNERS.items() for argument in arguments.split()}


def refused(extra: dict[str, Any], model: ModelConfig) -> list[str]:
    """One line for each of ``train.extra`` that another key sets, or that ultralytics would ignore silently.

    ``model`` is valid. Types, which ultralytics checks itself, are left to yolo/preflight.py.
    """
    lines, known, task = [], known_arguments(), model_tasks.of(model)
    for key, value in extra.items():
        if key in OWNED_ARGS:
            lines.append(f"train.extra.{key}={value}: set by {OWNED_ARGS[key]}")
        elif key in UNUSED_ARGS and key not in USED_BY.get(task.name, ()):
            lines.append(f"train.extra.{key}={value}: the training of a {task.noun} does not use it; leave it out")
        elif known and key not in known:
            close = difflib.get_close_matches(key, known - OWNED_ARGS.keys() - UNUSED_ARGS, n=1)
            hint = f"did you mean train.extra.{close[0]}?" if close else "see ultralytics' train arguments"
            lines.append(f"train.extra.{key}={value}: no such ultralytics argument; {hint}")
        elif task.name == model_tasks.CLASSIFY and key in UNUSED_BY_CLASSIFIERS and not (_is_off(key, value)):
            lines.append(f"train.extra.{key}={value}: the training of a {task.noun} does not use it; leave it out")
        elif key in UNUSED_BY_TRANSFORMERS and Network.of(model).is_transformer:
            lines.append(f"train.extra.{key}={value}: the training of RT-DETR does not use it; leave it out")
        elif key == "nms" and value is False and not (network := Network.of(model)).two_heads:
            lines.append(f"train.extra.nms=false: {network.title} has one head, which needs it; leave it out")
        elif key == "cache" and str(value).lower() == "disk":
            lines.append(f"train.extra.cache={value}: would write beside the images; must be ram or false")
        elif key == "cache" and not (value is None or isinstance(value, bool) or str(value).lower() == "ram"):
            lines.append(f"train.extra.cache={value}: must be ram or false")
        elif key == "copy_paste_mode" and value not in ("flip", "mixup"):
            lines.append(f"train.extra.copy_paste_mode={value}: must be flip or mixup")
        elif key == "freeze" and not _can_freeze(value, most := Network.of(model).head.index):
            lines.append(
                f"train.extra.freeze={value}: must be how many layers from the first, 0 to {most}, or a list of "
                "layer indices or names of modules"
            )
    return lines


def _is_off(key: str, value: Any) -> bool:
    return key in OFF_IN_CLASSIFIERS and type(value) in (bool, int, float) and not value


@cache
def known_arguments() -> frozenset[str]:
    """The arguments in ultralytics' file of defaults, since importing the package takes seconds; empty if not read."""
    spec = importlib.util.find_spec("ultralytics")
    for folder in (spec and spec.submodule_search_locations) or ():
        try:
            return frozenset(yaml.safe_load((Path(folder) / "cfg" / "default.yaml").read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, TypeError):
            continue
    return frozenset()


def _can_freeze(value: Any, most: int) -> bool:
    if isinstance(value, list):
        return all(type(item) in (int, str) for item in value)
    return value is None or (type(value) is int and 0 <= value <= most)


def extra_arguments(config: Config) -> dict[str, Any]:
    """``train.extra``, and with pretrained weights a ``warmup_bias_lr`` of 0 unless it is set there.

    Ultralytics' default, 0.1, moves every bias by 0.1 in the first step of AdamW. Ultralytics itself sets it to 0 where
    it chooses AdamW (``optimizer=auto``). From scratch the default stays.
    """
    defaults = {"warmup_bias_lr": 0.0} if config.model.pretrained else {}
    return {**defaults, **config.train.extra}


def rank_count(hardware: HardwareConfig) -> int:
    """How many processes train a run together, one on each of its GPUs: 1 too where it has a part of a GPU."""
    return max(1, int(hardware.gpus_per_run))


AMP: dict[str, bool | str] = {"fp32": False, "fp16": True, "bf16": "bf16"}


def train_arguments(config: Config, data: Path, run_dir: Path, device: str | int) -> dict[str, Any]:
    """Overrides for the trainer: ``train.extra``, and the arguments that the other keys set.

    Raises ConfigError for what ``train.extra`` may not set and for a precision that the device does not have.
    """
    train = config.train
    if lines := refused(train.extra, config.model):
        raise ConfigError(*lines)
    return {
        **extra_arguments(config),
        "task": model_tasks.of(config.model).name,
        "mode": "train",
        "model": families.yaml_of(config.model)["yaml_file"],
        "pretrained": False,  # weights are transferred, and every tensor accounted for, when the network is built
        "data": str(data),
        "save_dir": str(run_dir),
        "device": str(device),
        "workers": loader_workers(config, device),
        "amp": AMP[precision(config.hardware, device)],
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


def precision(hardware: HardwareConfig, device: str | int) -> str:
    """fp32, fp16 or bf16; ``auto`` is fp16 on a GPU, fp32 on ``"cpu"``. Raises ConfigError for half on a CPU."""
    wanted = hardware.precision
    if wanted == "auto":
        return "fp32" if device == "cpu" else "fp16"
    if wanted not in AMP:
        raise ConfigError(f"hardware.precision={wanted}: must be auto, {', '.join(AMP)}")
    if device == "cpu" and wanted != "fp32":
        raise ConfigError(f"hardware.precision={wanted}: needs a GPU; a CPU trains in fp32")
    return wanted


MOST_ON_A_GPU = 4  # runs, of ``hardware.runs_at_once=auto``
MOST_WORKERS = 8  # of ``hardware.workers=auto``, as in ultralytics
SHARED_MEMORY = Path("/dev/shm")


def loader_workers(config: Config, device: str | int) -> int:
    """``hardware.workers``, of each rank. No result depends on it.

    ``auto`` is 1 on ``"cpu"``. On a GPU it is the cores of a run, up to 8, and fewer if half of the free shared memory
    does not hold the batches that they keep ready: in a container it may be 64 MB.
    """
    hardware, train = config.hardware, config.train
    if hardware.workers != "auto":
        return int(hardware.workers)
    if device == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if (given := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():  # not every cluster binds a job to its cores
        cores = min(cores, int(given))
    ranks = rank_count(hardware)
    at_once = MOST_ON_A_GPU if hardware.runs_at_once == "auto" else hardware.runs_at_once
    of_run = cores // at_once if hardware.executor == "local" else cores - hardware.threads * ranks
    workers = min(MOST_WORKERS, max(1, of_run // ranks))
    if SHARED_MEMORY.is_dir():
        # Bytes of a worker's batches: 4 of training, and 2 of validation, which are twice as large.
        kept = 8 * train.batch * 3 * train.imgsz**2
        workers = min(workers, shutil.disk_usage(SHARED_MEMORY).free // 2 // kept)
    return workers
