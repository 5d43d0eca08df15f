"""Where a block can sit in YOLOv8, by name and by index, and how wide the network is there. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from acmix_exp.config import SCALES, ModelConfig, PlacementConfig
from acmix_exp.errors import ConfigError

# model.name: torchvision's name of the network whose features are the backbone; null is YOLOv8's own
NETWORKS = {
    "yolov8": None,
    "yolov8_mobilenetv3_large": "mobilenet_v3_large",
    "yolov8_mobilenetv3_small": "mobilenet_v3_small",
}
P5 = ("bottleneck", "expanded")
# channels at strides 8 and 16, and at stride 32 by model.backbone_p5
CHANNELS = {
    "mobilenet_v3_large": {"p3": 40, "p4": 112, "bottleneck": 160, "expanded": 960},
    "mobilenet_v3_small": {"p3": 24, "p4": 48, "bottleneck": 96, "expanded": 576},
}


@dataclass(frozen=True)
class Backbone:
    """``network``: torchvision's name. ``p5``: what stride 32 ends in, the last bottleneck or its expansion."""

    network: str
    p5: str

    @property
    def channels(self) -> dict[str, int]:
        """By the name of the site; there are no others in this backbone."""
        widths = CHANNELS[self.network]
        return {"backbone_p3": widths["p3"], "backbone_p4": widths["p4"], "backbone_p5": widths[self.p5]}

    @classmethod
    def of(cls, model: ModelConfig) -> Backbone | None:
        """That of a config; None for YOLOv8's own. Raises ConfigError for keys that do not go together."""
        if lines := faults(model):
            raise ConfigError(*lines)
        network = NETWORKS[model.name]
        return None if network is None else cls(network, model.backbone_p5 or P5[0])

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any] | None) -> Backbone | None:
        """As a checkpoint has it."""
        return None if kept is None else cls(**kept)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def faults(model: ModelConfig) -> list[str]:
    """A line for each key of the backbone that cannot be."""
    if model.name not in NETWORKS:
        return [f"model.name={model.name}: must be one of {', '.join(NETWORKS)}"]
    if NETWORKS[model.name] is None:
        right = "goes with model=yolov8_mobilenetv3_large or model=yolov8_mobilenetv3_small"
        return [] if model.backbone_p5 is None else [f"model.backbone_p5={model.backbone_p5}: {right}"]
    if model.backbone_p5 not in (None, *P5):
        return [f"model.backbone_p5={model.backbone_p5}: must be {' or '.join(P5)}"]
    return []


def starts_from_features(model: ModelConfig) -> bool:
    """Whether ``model.pretrained`` is the backbone alone, as torchvision has it: whatever is no .pt file."""
    return bool(NETWORKS.get(model.name) and model.pretrained and not model.pretrained.endswith(".pt"))


MODES = ("after", "replace")

# name: (layer index, output channels and repeats before scaling), as in ultralytics' yolov8.yaml
LAYERS = {
    "backbone_p2": (2, 128, 3),
    "backbone_p3": (4, 256, 6),
    "backbone_p4": (6, 512, 6),
    "backbone_p5": (8, 1024, 3),
    "sppf": (9, 1024, 1),
    "neck_p4_down": (12, 512, 3),
    "neck_p3": (15, 256, 3),
    "neck_p4": (18, 512, 3),
    "neck_p5": (21, 1024, 3),
}
NAMES = tuple(LAYERS)
BACKBONE = tuple(name for name in NAMES if name.startswith("backbone_"))
NECK = tuple(name for name in NAMES if name.startswith("neck_"))
INDICES = {index: name for name, (index, _, _) in LAYERS.items()}

# scale: (depth factor, width factor, most channels before the width factor)
SCALING = {
    "n": (0.33, 0.25, 1024),
    "s": (0.33, 0.50, 1024),
    "m": (0.67, 0.75, 768),
    "l": (1.00, 1.00, 512),
    "x": (1.00, 1.25, 512),
}


@dataclass(frozen=True)
class Site:
    """A layer that takes the block.

    ``channels`` is what the block sees: the layer's output after it, the bottleneck's width inside it.
    ``blocks`` is how many blocks the site takes: one after a layer, one for each bottleneck it replaces into.
    """

    name: str
    index: int
    channels: int
    blocks: int = 1

    @property
    def block_names(self) -> list[str]:
        """One name a block: the site's own, numbered where the site takes several."""
        return [self.name] if self.blocks == 1 else [f"{self.name}.{i}" for i in range(self.blocks)]


def width(name: str, scale: str) -> int:
    """Output channels of a layer: ultralytics rounds up to a multiple of 8."""
    _, factor, most = SCALING[scale]
    return math.ceil(min(LAYERS[name][1], most) * factor / 8) * 8


def depth(name: str, scale: str) -> int:
    """Bottlenecks in a C2f."""
    repeats = LAYERS[name][2]
    return max(round(repeats * SCALING[scale][0]), 1) if repeats > 1 else repeats


def resolve_sites(placement: PlacementConfig, scale: str, backbone: Backbone | None = None) -> list[Site]:
    """The sites of a placement in network order; empty where it has none. ``backbone``: None for YOLOv8's own.

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
    names = []
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
    own = backbone.channels if backbone else {}
    foreign = [name for name in names if name in BACKBONE and (name not in own or placement.mode == "replace")]
    if backbone and foreign:
        lines.append(
            f"model.placement.sites={', '.join(foreign)}: in {backbone.network} must be of {', '.join(own)}, "
            f"with model.placement.mode=after; or use {', '.join(NECK)}"
        )
    if lines:
        raise ConfigError(*lines)
    return [_site(name, placement.mode, scale, own) for name in sorted(names, key=lambda name: LAYERS[name][0])]


def zero_init(placement: PlacementConfig, pretrained: bool) -> bool:
    """Whether branches start at zero: as configured, else where weights are pretrained and they can."""
    able = placement.mode == "after" and placement.norm and placement.residual
    return able and (pretrained if placement.zero_init is None else placement.zero_init)


def _name(value: Any) -> str | None:
    text = str(value).strip().replace(".", "_").lower()
    if text in LAYERS:
        return text
    return INDICES.get(int(text)) if text.isdigit() else None


def _site(name: str, mode: str, scale: str, widths: Mapping[str, int]) -> Site:
    channels = widths.get(name) or width(name, scale)
    if mode == "after":
        return Site(name, LAYERS[name][0], channels)
    return Site(name, LAYERS[name][0], channels // 2, depth(name, scale))
