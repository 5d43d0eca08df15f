"""Where a block can sit in the network, by name and by index, and how wide the network is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acmix_exp.config import SCALES, ModelConfig, PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.families import FEATURES, MODELS, YOLOV8

MODES = ("after", "replace")
NAMES = tuple(YOLOV8.layers)
INDICES = {layer.index: name for name, layer in YOLOV8.layers.items()}


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
        """The backbone of a config; None for YOLOv8's own. Raises ConfigError for a wrong name or backbone_p5."""
        if lines := faults(model):
            raise ConfigError(*lines)
        features = MODELS[model.name]
        return cls(features.network, model.backbone_p5 or next(iter(features.p5))) if features else None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Backbone | None:
        """The backbone that a checkpoint's YAML holds; None for YOLOv8's own."""
        return None if values is None else cls(**values)


def faults(model: ModelConfig) -> list[str]:
    """A line for each of model.name and model.backbone_p5 that is wrong."""
    if model.name not in MODELS:
        return [f"model.name={model.name}: must be one of {', '.join(MODELS)}"]
    features = MODELS[model.name]
    if features is None and model.backbone_p5 is not None:
        owners = " or ".join(f"model={name}" for name, features in MODELS.items() if features)
        return [f"model.backbone_p5={model.backbone_p5}: goes with {owners}"]
    if features and model.backbone_p5 not in (None, *features.p5):
        return [f"model.backbone_p5={model.backbone_p5}: must be {' or '.join(features.p5)}"]
    return []


def starts_from_features(model: ModelConfig) -> bool:
    """Whether ``model.pretrained`` holds the backbone alone, as torchvision saves it: any file that is not a .pt."""
    return bool(MODELS.get(model.name) and model.pretrained and not model.pretrained.endswith(".pt"))


@dataclass(frozen=True)
class Site:
    """A layer that takes the block.

    channels: input and output channels of the block: the layer's output after it, the bottleneck's width inside it.
    blocks: number of blocks: one after a layer, one per bottleneck that it replaces a convolution in.
    """

    name: str
    index: int
    channels: int
    blocks: int = 1

    @property
    def block_names(self) -> list[str]:
        """One name per block: the site's, with a number if the site has several."""
        return [self.name] if self.blocks == 1 else [f"{self.name}.{i}" for i in range(self.blocks)]


def resolve_sites(placement: PlacementConfig, scale: str, backbone: Backbone | None = None) -> list[Site]:
    """The sites of a placement in network order; empty if it has none. ``backbone`` is None for YOLOv8's own.

    Raises ConfigError for a scale, mode, site or combination that does not exist.
    """
    lines = []
    if scale not in SCALES:
        lines.append(f"model.scale={scale}: must be one of {', '.join(SCALES)}")
    if placement.mode not in MODES:
        lines.append(f"model.placement.mode={placement.mode}: must be one of {', '.join(MODES)}")
    if placement.zero_init and placement.mode == "after" and not (placement.norm and placement.residual):
        lines.append(
            "model.placement.zero_init=true: needs norm and residual; "
            "set model.placement.norm=true and model.placement.residual=true"
        )
    names: list[str] = []
    for value in placement.sites:
        name = _name(value)
        if name is None:
            lines.append(
                f"model.placement.sites={value}: must be one of {', '.join(NAMES)}, or of the layer indices "
                f"{', '.join(map(str, INDICES))}"
            )
        elif name in names:
            lines.append(f"model.placement.sites={value}: names {name} twice; name every site once")
        elif name == "sppf" and placement.mode == "replace":
            lines.append(
                f"model.placement.sites={value}: has no bottleneck to replace into; use one of "
                f"{', '.join(n for n in NAMES if n != 'sppf')}, or model.placement.mode=after"
            )
        else:
            names.append(name)
    if backbone:
        lines += _outside(backbone, names, placement.mode)
    if lines:
        raise ConfigError(*lines)
    widths = backbone.channels if backbone else {}
    return [_site(name, placement.mode, scale, widths) for name in NAMES if name in names]


def zero_init(placement: PlacementConfig, pretrained: bool) -> bool:
    """Whether branches start at zero: as configured, else if weights are pretrained and the placement allows it."""
    able = placement.mode == "after" and placement.norm and placement.residual
    return able and (pretrained if placement.zero_init is None else placement.zero_init)


def _name(value: Any) -> str | None:
    text = str(value).strip().replace(".", "_").lower()
    if text in NAMES:
        return text
    return INDICES.get(int(text)) if text.isdigit() else None


def _outside(backbone: Backbone, names: list[str], mode: str) -> list[str]:
    """A line for the sites that ``backbone`` does not have; its own take a block only after them."""
    outside = [
        name
        for name in names
        if name in YOLOV8.sites("backbone") and (name not in backbone.channels or mode == "replace")
    ]
    if not outside:
        return []
    return [
        f"model.placement.sites={', '.join(outside)}: in {backbone.network} must be of {', '.join(backbone.channels)}, "
        f"with model.placement.mode=after; or use {', '.join(YOLOV8.sites('neck'))}"
    ]


def _site(name: str, mode: str, scale: str, widths: Mapping[str, int]) -> Site:
    index = YOLOV8.layers[name].index
    channels = widths.get(name) or YOLOV8.width(name, scale)
    if mode == "after":
        return Site(name, index, channels)
    return Site(name, index, channels // 2, YOLOV8.depth(name, scale))
