"""The networks that stand in for YOLOv8's backbone, and how wide they are at its sites. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from acmix_exp.config import ConfigError, ModelConfig

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
