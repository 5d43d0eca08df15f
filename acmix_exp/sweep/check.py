"""Checks of a composed config: one line per fault, with the key, its value and what is valid."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from acmix_exp import custom_block, insertions, installed
from acmix_exp.block_rules import RULES, channel_faults, library_faults, option_faults, suggestion
from acmix_exp.config import IDENTITY, SEED_LIMIT, Config, HardwareConfig, options, value_of
from acmix_exp.data import Dataset
from acmix_exp.errors import ConfigError
from acmix_exp.run import devices
from acmix_exp.run.directory import RUN_FILES, RUN_FOLDERS
from acmix_exp.slot_rules import ASSIGNERS, slot_faults
from acmix_exp.sweep import arm, executor_keys, seed_axis
from acmix_exp.tracking.variables import PROJECT, PROJECT_RULE, TAG_LIMIT
from acmix_exp.yolo.arguments import rank_count, refused
from acmix_exp.yolo.families import identity
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.sites import MODES, Network, sites_of

NAME_MAX = 255  # bytes of a file name, on every file system in use
NAME = re.compile(r"[^\s/\\.~-](?:[^/\\\x00-\x1f\x7f]*[^\s/\\\x00-\x1f\x7f])?")
NAME_RULE = "the name of a folder: no / or \\, beginning with none of . - ~ and space; letters, digits, '_' are safe"
EFFECTS_RULE = "numbers above 0, below 1; a point is 0.01"
HIGHEST_SD = 0.5  # of numbers from 0 to 1
SD_RULE = f"a number above 0, up to {HIGHEST_SD}; a point of mAP50-95 is 0.01"
TASKS = ("train", "plan", "power", "profile", "evaluate", "judge", "export", "repeat", "report")
CHOICES: dict[str, tuple[str | None, ...]] = {
    "task": TASKS,
    "split": (None, "train", "val", "test"),
    "model.placement.mode": MODES,
    "loss.assigner": ASSIGNERS,
    "train.optimizer": ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSProp"),
    "train.keep": ("best", "last", "both", "none"),
    "logger.mode": ("auto", "online", "offline", "disabled"),
    "hardware.executor": ("local", "slurm", "ray"),
    "hardware.precision": ("auto", "fp32", "fp16", "bf16"),
    "report.pairs": ("reference", "all"),
    "report.language": ("en", "zh"),
}


def unknown_keys(values: Mapping[str, Any], schema: Any = Config, prefix: str = "") -> list[str]:
    """Lines for keys that are not in the schema: ``+key=value`` slips past Hydra's own check."""
    hints = typing.get_type_hints(schema)
    lines = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            lines.append(f"{name}={value}: unknown key{suggestion(key, hints, prefix)}")
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            lines += unknown_keys(value, hints[key], f"{name}.")
    return lines


def faults(config: Config, explicit: Collection[str]) -> list[str]:
    """Everything wrong with one cell that shows without the data set."""
    foreign = installed.refusals(installed.in_children(), allowed=config.allow_foreign_ultralytics)
    lines = [
        *foreign,
        *_values(config),
        *(model_lines := _model(config, explicit)),
        *_block(config),
        *([] if model_lines else refused(config.train.extra, config.model)),
        *_hardware(config),
        *executor_keys.faults(config, explicit),
        *seed_axis.faults(config, explicit),
    ]
    if not lines:
        lines = _insertions(config) or arm.contradictions(config, explicit) or arm.loss_faults(config)
    if not lines:
        effective = arm.apply(config)
        lines = _sites(effective)
        if not lines and config.task in ("train", "profile"):
            lines = [line for each in insertions.insertions(effective) for line in library_faults(each.block)]
    return lines if model_lines else lines + _pretrained(config)


def mirror_faults(config: Config, dataset: Dataset) -> list[str]:
    """A line for each argument that mirrors images, if the data set does not say what that does to its keypoints."""
    if dataset.keypoints is None or dataset.keypoints.flip:
        return []
    why = f"{dataset.source.name} has no flip_idx, without which no image is mirrored; add flip_idx there, or leave"
    asked = {key: config.train.extra.get(key) for key in ("fliplr", "flipud")}
    return [f"train.extra.{key}={value}: {why} this out" for key, value in asked.items() if value]


def _values(config: Config) -> list[str]:
    train, dataset, rows, hardware = config.train, config.dataset, config.plan.rows, config.hardware
    effects = config.power.effects
    tests = [
        ("name", NAME.fullmatch(config.name), NAME_RULE),
        ("seed", 0 <= config.seed < SEED_LIMIT, "a whole number from 0"),
        ("train.epochs", train.epochs >= 1, "a whole number from 1"),
        ("train.batch", train.batch >= 1, "a whole number from 1 (an ablation fixes its batch)"),
        ("train.imgsz", train.imgsz >= 32 and train.imgsz % 32 == 0, "a multiple of 32, from 32"),
        ("train.lr0", 0 < train.lr0 <= 1, "a number above 0, up to 1"),
        ("train.save_every", train.save_every >= 1, "a whole number from 1"),
        ("plan.rows", rows == "all" or (type(rows) is int and rows >= 0), "a whole number from 0, or all"),
        ("sd", config.sd is None or 0 < config.sd <= HIGHEST_SD, SD_RULE),
        ("power.effects", effects and all(0 < effect < 1 for effect in effects), EFFECTS_RULE),
        ("power.level", 0.5 <= config.power.level <= 0.99, "from 0.5 to 0.99"),
        (
            "report.margin",
            config.report.margin is None or 0 < config.report.margin < 1,
            "a difference in mAP50-95 above 0, below 1; a point is 0.01",
        ),
        ("profile.seconds", 1 <= config.profile.seconds <= 3600, "from 1 to 3600"),
        (
            "dataset.path",
            dataset.path is None or dataset.name in ("yolo", "voc_xml"),
            f"left out with dataset={dataset.name}, or go with dataset=yolo or dataset=voc_xml",
        ),
        ("logger.project", PROJECT.fullmatch(config.logger.project or "null"), PROJECT_RULE),
        (
            "dataset.root",
            dataset.root is None or dataset.name != "yolo",
            "left out with dataset=yolo, whose data are read from dataset.path",
        ),
        ("tags", all(1 <= len(tag) <= TAG_LIMIT for tag in config.tags), f"of 1 to {TAG_LIMIT} characters each"),
        (
            "hardware.workers",
            hardware.workers == "auto" or (type(hardware.workers) is int and hardware.workers >= 0),
            "auto or a whole number from 0",
        ),
        ("hardware.threads", hardware.threads >= 1, "a whole number from 1"),
        ("hardware.runs_at_once", *_runs_at_once(hardware)),
        ("hardware.gpus_per_run", *_gpus_per_run(hardware)),
    ]
    tests += [
        (key, value_of(config, key) in choices, f"one of {', '.join(filter(None, choices))}")
        for key, choices in CHOICES.items()
    ]
    return [f"{key}={value_of(config, key)}: must be {right}" for key, fine, right in tests if not fine]


def _model(config: Config, explicit: Collection[str]) -> list[str]:
    """Lines for a network that does not exist or has no such scale, or whose strides do not divide the image."""
    try:
        network = Network.of(config.model)
    except ConfigError as error:
        return error.lines
    if "model.scale" in explicit and identity(config.model)["scale"] is None:
        return [f"model.scale={config.model.scale}: model.yaml={config.model.yaml} has no scales; leave it out"]
    imgsz, stride = config.train.imgsz, network.stride
    if stride > 32 and imgsz >= 32 and imgsz % 32 == 0 and imgsz % stride:
        return [f"train.imgsz={imgsz}: must be a multiple of {stride} for {network.title}"]
    return []


def _runs_at_once(hardware: HardwareConfig) -> tuple[bool, str]:
    """Whether the key fits, and what would."""
    value, whole = hardware.runs_at_once, "a whole number from 1"
    if hardware.executor != "local":
        return type(value) is int and value >= 1, f"{whole} with hardware.executor={hardware.executor}"
    return value == "auto" or (type(value) is int and value >= 1), f"auto or {whole}"


def _block(config: Config) -> list[str]:
    name = str(config.block.get("name"))
    if custom_block.is_custom(config.block):
        return custom_block.faults(config.block, taken=[*options("arm"), *RULES])
    if name not in RULES:
        return [f"block.name={name}: must be one of {', '.join(sorted([*RULES, custom_block.NAME]))}"]
    return option_faults(name, _block_options(config.block))


def _block_options(block: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "name"}


def _gpus_per_run(hardware: HardwareConfig) -> tuple[bool, str]:
    """Whether the value is right, and which values are."""
    number = hardware.gpus_per_run
    whole, right = number >= 1 and float(number).is_integer(), "a whole number from 1"
    if hardware.executor != "ray":
        return whole, right
    return whole or 0 < number < 1, f"{right}, or a part of a GPU such as 0.5"


def _sites(effective: Config) -> list[str]:
    """Lines for sites that do not exist, and for sites whose channels the block cannot take."""
    try:
        found = sites_of(effective)
    except ConfigError as error:
        return error.lines
    lines = []
    for inserted, sites in found:
        mode = inserted.placement.mode
        if mode == "loss" and effective.arm.control and effective.arm.block != IDENTITY:
            why = (
                "a loss has no size" if effective.arm.match else "a loss has no layers, which this control consists of"
            )
            lines.append(f"arm={effective.arm.name} model.placement.mode=loss: {why}; use arm=identity")
        elif unfit := slot_faults(inserted.block, mode):
            lines += inserted.in_words(unfit)
        elif not custom_block.is_custom(inserted.block):
            channels = {site.name: site.channels for site in sites}
            name, options = str(inserted.block["name"]), _block_options(inserted.block)
            lines += inserted.in_words(channel_faults(name, options, channels, effective.model.scale))
    return lines


def _insertions(config: Config) -> list[str]:
    """Lines for what is wrong with ``arm.insertions``, but for sites."""
    if not config.arm.insertions:
        return []
    try:
        found = insertions.read(config.arm.insertions)
        gpus = devices.kind(config.hardware) == "cuda"
    except ConfigError as error:
        return error.lines
    needs_gpu = [each for each in found if each.block.get("backend") == "triton" and not gpus]
    return [f"{each.key}.options.backend=triton: needs a CUDA GPU; use auto" for each in needs_gpu]


def _hardware(config: Config) -> list[str]:
    try:
        gpus = devices.kind(config.hardware) == "cuda"
    except ConfigError as error:
        return error.lines
    lines, precision = [], config.hardware.precision
    if not gpus and config.arm.insert and config.block.get("backend") == "triton":
        lines.append("block.backend=triton: needs a CUDA GPU; use auto")
    ranks, batch = rank_count(config.hardware), config.train.batch
    if batch >= 1 and batch % ranks:
        lines.append(f"train.batch={batch}: must be a multiple of hardware.gpus_per_run={ranks}, which share it")
    if ranks > 1 and config.train.extra.get("rect"):
        lines.append(f"train.extra.rect=true: shapes of batches are of one process; hardware.gpus_per_run={ranks}")
    if not gpus and precision in ("fp16", "bf16"):
        lines.append(f"hardware.precision={precision}: needs a GPU; a CPU trains in fp32")
    return lines


def _pretrained(config: Config) -> list[str]:
    """A line if the file is not found; yolo/preflight.py reads it."""
    try:
        if config.model.pretrained is not None:
            find_pretrained(config.model)
    except ConfigError as error:
        return error.lines
    return []


def writable(runs_dir: Path, folder: Path) -> list[str]:
    """A line if run directories cannot be created in ``folder``, which is in ``runs_dir``.

    Tried in the nearest existing folder, leaving nothing behind.
    """
    for key, path in ((f"runs_dir={runs_dir}", runs_dir), (f"name={folder.name}", folder)):
        if fault := _in_the_way(path):
            return [f"{key}: {fault}"]
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    key = f"name={folder.name}: {folder}" if nearest == folder else f"runs_dir={runs_dir}:"
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        return [f"{key} can't be written ({error.strerror}); name a folder that can"]
    return []


def run_folders(paths: Iterable[Path]) -> list[str]:
    """A line for each run directory, ``runs_dir/name/run``, that cannot be written."""
    lines = []
    for path in dict.fromkeys(paths):
        fault = _in_the_way(path)
        if fault is None and path.exists() and not os.access(path, os.W_OK | os.X_OK):
            fault = f"{path} can't be written; change its permissions or the name"
        if fault is None and path.exists():
            fault = _odd_entry(path)
        lock = path / ".lock"
        if fault is None and lock.exists() and not os.access(lock, os.W_OK):
            fault = f"{lock} can't be written; change its owner or permissions"
        if fault:
            lines.append(f"name={path.parent.name}: {fault}")
    return lines


def _odd_entry(run: Path) -> str | None:
    """What in a run directory is a folder in place of a file, or the other way round; None if nothing is."""
    if folder := next((run / name for name in RUN_FILES if (run / name).is_dir()), None):
        return f"{folder} is a folder; must be a file or a free name"
    return next(filter(None, (_in_the_way(run / name) for name in RUN_FOLDERS)), None)


def _in_the_way(path: Path) -> str | None:
    """Why there is no folder at a path, and none can be made; None if there is one, or nothing."""
    if any(len(os.fsencode(part)) > NAME_MAX for part in path.parts):
        return f"{path} has a name that is too long; must have at most {NAME_MAX} bytes"
    try:
        if path.is_dir():
            return None
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} can't be written ({error.strerror}); must be a folder or a free name"
    if path.is_symlink():
        return f"{path} is a symbolic link to {os.readlink(path)}, which is no folder; must be a folder or a free name"
    return f"{path} is a file; must be a folder or a free name"
