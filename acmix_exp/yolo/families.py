"""The detectors: their names, scales, variants and weights, and the YAML that each network is built from.

The YAMLs are those in the installed ultralytics, or the user's own (``model.yaml``). Neither torch nor ultralytics is
imported, so that a plan is checked at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from acmix_exp import model_tasks
from acmix_exp.config import ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.files import shipped, user_path
from acmix_exp.model_tasks import DETECT, TASKS


@dataclass(frozen=True)
class Features:
    """A network of torchvision whose ``features`` replace the layers of a backbone before its SPPF.

    channels: by the name of the site; of backbone_p5 by ``model.backbone_p5``.
    files: torchvision's weights by name, the default last; a file's name ends in the start of its SHA-256.
    """

    network: str
    channels: Mapping[str, int]
    p5: Mapping[str, int]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """Networks of one design.

    title: as it is written. base: how the names of its YAMLs start. scales: the smallest first. variants: with more or
    other outputs, as in ``yolov8-p6.yaml``. own_files: each scale has a YAML of its own. weights: published files of
    weights, without ``.pt``, with ``{}`` for the scale. without: scales that have none. backbone: in place of its own.
    """

    title: str
    base: str
    scales: tuple[str, ...] = ("n", "s", "m", "l", "x")
    variants: tuple[str, ...] = ()
    own_files: bool = False
    weights: Mapping[str | None, str] | None = None
    without: tuple[str, ...] = ()
    backbone: Features | None = None

    def network(self, scale: str, variant: str | None, task: str | None = None) -> str:
        """The name of a network in ultralytics, such as ``yolov8n-p6``; task: None: detect."""
        return f"{self.base}{scale}{TASKS[task or DETECT].suffix}" + (f"-{variant}" if variant else "")

    def file(self, scale: str, variant: str | None, task: str | None = None) -> str:
        """The name of its YAML."""
        return f"{self.network(scale if self.own_files else '', variant, task)}.yaml"

    def checkpoints(self, variant: str | None, task: str | None = None) -> dict[str, str]:
        """The names of the published weights by scale."""
        pattern, suffix = (self.weights or {None: f"{self.base}{{}}"}).get(variant), TASKS[task or DETECT].suffix
        return {
            scale: f"{pattern.format(scale)}{suffix}.pt"
            for scale in self.scales
            if pattern and scale not in self.without and (not suffix or self.has(scale, variant, task))
        }

    def has(self, scale: str, variant: str | None, task: str | None) -> bool:
        """Whether the installed ultralytics describes the network."""
        return _shipped(self.file(scale, variant, task)) is not None


FAMILIES = {  # model.family
    "yolov8": Family("YOLOv8", "yolov8", variants=("p2", "p6")),
    "yolov5": Family("YOLOv5u", "yolov5", variants=("p6",), weights={None: "yolov5{}u", "p6": "yolov5{}6u"}),
    "yolov9": Family("YOLOv9", "yolov9", ("t", "s", "m", "c", "e"), own_files=True),
    "yolov10": Family("YOLOv10", "yolov10", ("n", "s", "m", "b", "l", "x"), own_files=True),
    "yolo11": Family("YOLO11", "yolo11"),
    "yolo12": Family("YOLO12", "yolo12"),
    "yolo26": Family("YOLO26", "yolo26", variants=("p2", "p6")),
    "rtdetr": Family(
        "RT-DETR", "rtdetr-", ("l", "x", "resnet50", "resnet101"), own_files=True, without=("resnet50", "resnet101")
    ),
    "yolov8_mobilenetv3_large": Family(
        "YOLOv8 on MobileNetV3-Large",
        "yolov8",
        backbone=Features(
            "mobilenet_v3_large",
            channels={"backbone_p3": 40, "backbone_p4": 112},
            p5={"bottleneck": 160, "expanded": 960},
            files={
                "IMAGENET1K_V1": "mobilenet_v3_large-8738ca79.pth",
                "IMAGENET1K_V2": "mobilenet_v3_large-5c1a4163.pth",
            },
        ),
    ),
    "yolov8_mobilenetv3_small": Family(
        "YOLOv8 on MobileNetV3-Small",
        "yolov8",
        backbone=Features(
            "mobilenet_v3_small",
            channels={"backbone_p3": 24, "backbone_p4": 48},
            p5={"bottleneck": 96, "expanded": 576},
            files={"IMAGENET1K_V1": "mobilenet_v3_small-047dcff4.pth"},
        ),
    ),
}
FEATURES = {family.backbone.network: family.backbone for family in FAMILIES.values() if family.backbone}
SCALES = tuple(dict.fromkeys(scale for family in FAMILIES.values() for scale in family.scales))
TRANSFORMER = "RTDETRDecoder"
HEADS = [kind for task in TASKS.values() for kind in task.heads]


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision as the backbone.

    network: torchvision's name.
    p5: the last layer of stride 32: ``bottleneck``, or ``expanded``, the 1x1 convolution after the last bottleneck.
    """

    network: str
    p5: str

    @property
    def channels(self) -> dict[str, int]:
        """Output channels by the name of the site; this backbone has no other sites."""
        features = FEATURES[self.network]
        return {**features.channels, "backbone_p5": features.p5[self.p5]}

    @classmethod
    def of(cls, model: ModelConfig) -> Backbone | None:
        """The backbone of a config; None for the detector's own. Raises ConfigError for a wrong model."""
        if lines := faults(model):
            raise ConfigError(*lines)
        features = None if model.yaml else FAMILIES[model.family].backbone
        return cls(features.network, model.backbone_p5 or next(iter(features.p5))) if features else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Backbone | None:
        """The backbone that a checkpoint's YAML holds; None for the detector's own."""
        return None if values is None else cls(**values)


def faults(model: ModelConfig) -> list[str]:
    """A line for each key of ``model`` that is wrong or does not go with the family; placement and weights aside."""
    family = FAMILIES.get(model.family)
    if family is None:
        return [f"model.family={model.family}: must be one of {', '.join(FAMILIES)}"]
    if model.task not in (None, *TASKS):
        return [f"model.task={model.task}: must be one of {', '.join(TASKS)}"]
    lines = []
    if model.yaml is not None:
        if model.variant is not None:
            lines.append(
                f"model.variant={model.variant}: goes with a family, and model.yaml={model.yaml} takes its place"
            )
        try:
            own_yaml(model)
        except ConfigError as error:
            lines += error.lines
        family = FAMILIES["yolov8"]
    else:
        if model.scale not in family.scales:
            lines.append(f"model.scale={model.scale}: must be one of {', '.join(family.scales)}, for {family.title}")
        if model.variant not in (None, *family.variants):
            right = (
                " or ".join([*family.variants, "null"]) if family.variants else f"null: {family.title} has no variants"
            )
            lines.append(f"model.variant={model.variant}: must be {right}")
        if not lines and model.task not in (None, DETECT) and not family.has(model.scale, model.variant, model.task):
            lines.append(_without_task(model, family))
    features = family.backbone
    if features is None and model.backbone_p5 is not None:
        owners = " or ".join(f"model={name}" for name, each in FAMILIES.items() if each.backbone)
        lines.append(f"model.backbone_p5={model.backbone_p5}: goes with {owners}")
    if features and model.backbone_p5 not in (None, *features.p5):
        lines.append(f"model.backbone_p5={model.backbone_p5}: must be {' or '.join(features.p5)}")
    return lines


def _without_task(model: ModelConfig, family: Family) -> str:
    """The line for a network that ultralytics does not have for the task."""
    scales = [each for each in family.scales if family.has(each, model.variant, model.task)]
    if scales:
        right = f"model.scale={' or '.join(scales)}"
    elif model.variant and family.has(model.scale, None, model.task):
        right = "model.variant=null"
    else:
        able = [
            name
            for name, each in FAMILIES.items()
            if not each.backbone and any(each.has(scale, None, model.task) for scale in each.scales)
        ]
        right = f"model={' or '.join(able)}"
    name = family.network(model.scale, model.variant)
    return f"model.task={model.task}: ultralytics has no {name} for it; use {right}, or model.task=detect"


def starts_from_features(model: ModelConfig) -> bool:
    """Whether ``model.pretrained`` holds the backbone alone, as torchvision saves it: any file that is not a .pt."""
    family = FAMILIES.get(model.family)
    replaced = family is not None and family.backbone is not None and model.yaml is None
    return bool(replaced and model.pretrained and not model.pretrained.endswith(".pt"))


def title(model: ModelConfig) -> str:
    """The network of a valid config in a word, such as ``yolov8n``, ``yolo26n-p2`` and ``rtdetr-l``."""
    return title_of(identity(model))


def identity(model: ModelConfig) -> dict[str, Any]:
    """What a valid config's network is: family, scale and variant, or name, scale and content of the user's YAML."""
    task = {} if model.task in (None, DETECT) else {"task": model.task}
    if model.yaml is not None:
        scale = model.scale if own_yaml(model).get("scales") else None
        return {"name": Path(model.yaml).stem, "scale": scale, "yaml": yaml_digest(model), **task}
    variant = {} if model.variant is None else {"variant": model.variant}
    return {"name": model.family, "scale": model.scale, **variant, **task}


def title_of(identity: Mapping[str, Any]) -> str:
    """The title of a network from its :func:`identity`, of which scale and variant may be missing."""
    name, scale, family = str(identity["name"]), identity.get("scale") or "", FAMILIES.get(str(identity["name"]))
    task = identity.get("task")
    if family is None or family.backbone or "yaml" in identity:
        return " ".join(filter(None, (name, scale, task)))
    return family.network(scale, identity.get("variant"), task) if scale else name


def yaml_of(model: ModelConfig) -> dict[str, Any]:
    """A copy of the YAML that the network of a valid config is built from, with its scale and its name in ultralytics.

    Raises ConfigError if the installed ultralytics does not have it.
    """
    if model.yaml is not None:
        content = own_yaml(model)
        scale = model.scale if content.get("scales") else ""
        named = {"scale": scale, "yaml_file": f"{Path(model.yaml).stem}.yaml"}
        return {"nc": 80, **_copy(content), **named}  # ultralytics needs a number of classes, which the data replace
    family = FAMILIES[model.family]
    path = _shipped(family.file(model.scale, model.variant, model.task))
    if path is None:
        raise ConfigError(
            f"model.family={model.family}: the ultralytics that is installed does not have {title(model)}"
        )
    content = _copy(_read(path, _stamp(path)))
    scales = content.get("scales") or [model.scale]
    scale = model.scale if model.scale in scales else next(iter(scales))  # a file of one scale may call it otherwise
    return {**content, "scale": scale, "yaml_file": f"{family.network(model.scale, model.variant, model.task)}.yaml"}


def _copy(content: Any) -> Any:
    """A copy of plain lists and dicts, faster than deepcopy."""
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content


def own_yaml(model: ModelConfig) -> dict[str, Any]:
    """The content of ``model.yaml``: a file of the user, else the YAML of that name in ultralytics or in this package.

    Raises ConfigError if it is missing or describes no detector, or does not have the scale.
    """
    setting = f"model.yaml={model.yaml}"
    path = user_path(str(model.yaml))
    if path.is_dir():
        raise ConfigError(f"{setting}: is a folder; must be a YAML file of a detector")
    found = path if path.is_file() else _shipped(str(model.yaml)) or shipped(str(model.yaml))
    if found is None:
        raise ConfigError(f"{setting}: no such file; must be a YAML file of a detector, as ultralytics describes one")
    try:
        content = _read(found, _stamp(found))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{setting}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not content.get("backbone"):
        raise ConfigError(f"{setting}: describes no network; must have lists backbone: and head:")
    last = content["head"][-1] if isinstance(content.get("head"), list) and content["head"] else None
    kind = last[2] if isinstance(last, list) and len(last) > 2 else None
    heads = (task := model_tasks.of(model)).heads
    if kind not in heads:
        of_other = next((f", or model.task={each.name}" for each in TASKS.values() if kind in each.heads), "")
        right = f"{', '.join(heads[:-1])} or {heads[-1]}" if len(heads) > 1 else heads[0]
        raise ConfigError(
            f"{setting}: its last layer is {kind}; must be {right}{f' for model.task={task.name}' if of_other else ''}"
            f"{of_other}"
        )
    rows = [*content["backbone"], *content["head"][:-1]] if isinstance(content["backbone"], list) else []
    for index, row in enumerate(rows):
        if isinstance(row, list) and len(row) > 2 and row[2] in HEADS:
            raise ConfigError(f"{setting}: layer {index} is {row[2]}, and the last layer {kind}; must have one head")
    _check_scale(setting, content.get("scales"), model)
    return content


def _check_scale(setting: str, scales: Any, model: ModelConfig) -> None:
    """Raise ConfigError if a YAML of the user's does not have the scale, or not as ultralytics reads it."""
    if not scales:
        return
    values = scales.get(model.scale) if isinstance(scales, dict) else None
    if isinstance(scales, dict) and model.scale not in scales:
        named = ", ".join(map(str, scales))
        raise ConfigError(f"model.scale={model.scale}: must be one of {named}, the scales of {model.yaml}")
    numbers = [each for each in values if type(each) in (int, float)] if isinstance(values, list) else []
    if len(numbers) != 3 or values != numbers:
        given = scales if values is None else values
        raise ConfigError(
            f"{setting}: its scales have {given}; must be [depth, width, most channels] by letter, such as "
            "n: [0.33, 0.25, 1024]"
        )


def yaml_digest(model: ModelConfig) -> str:
    """A hash of what ``model.yaml`` says: comments, layout and the number of classes do not count."""
    content = {key: value for key, value in own_yaml(model).items() if key != "nc"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _shipped(name: str) -> Path | None:
    """The YAML of that name in the ultralytics that child processes import; None if it has none."""
    if os.path.basename(name) != name:
        return None
    spec = importlib.util.find_spec("ultralytics")
    folders = [Path(folder, "cfg", "models") for folder in (spec and spec.submodule_search_locations) or ()]
    return next((path for folder in folders for path in sorted(folder.glob(f"*/{name}"))), None)


def _stamp(path: Path) -> tuple[int, ...]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=64)
def _read(path: Path, stamp: tuple[int, ...]) -> Any:
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, LOADER)
