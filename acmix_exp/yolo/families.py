"""What is particular to one detector: layers, widths, scales and the files of its weights.

The tables let a plan be checked at once; yolo/preflight.py compares them with the network that ultralytics builds.
A detector with other classes of layers needs their subclasses in yolo/wrap.py, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A layer that can take a block. ``channels`` and ``repeats`` are those of ultralytics' YAML, before scaling."""

    index: int
    stride: int
    channels: int
    repeats: int


@dataclass(frozen=True)
class Scale:
    """``depth`` multiplies repeats, ``width`` channels, of which at most ``max_channels`` are counted."""

    depth: float
    width: float
    max_channels: int


@dataclass(frozen=True)
class Family:
    """A detector as ultralytics' YAML describes it.

    layers: by the name of the site, in network order.
    head: index of the detection head, the last layer.
    """

    name: str
    layers: Mapping[str, Layer]
    scales: Mapping[str, Scale]
    head: int

    def yaml(self, scale: str) -> str:
        return f"{self.name}{scale}.yaml"

    def width(self, layer: str, scale: str) -> int:
        """Output channels of a layer: ultralytics rounds up to a multiple of 8."""
        factor = self.scales[scale]
        return math.ceil(min(self.layers[layer].channels, factor.max_channels) * factor.width / 8) * 8

    def depth(self, layer: str, scale: str) -> int:
        """Number of bottlenecks in a layer."""
        repeats = self.layers[layer].repeats
        return max(round(repeats * self.scales[scale].depth), 1) if repeats > 1 else repeats

    def sites(self, part: str) -> list[str]:
        """Names of the layers of a ``part``: backbone or neck."""
        return [name for name in self.layers if name.startswith(f"{part}_")]


YOLOV8 = Family(
    name="yolov8",
    layers={
        "backbone_p2": Layer(2, 4, 128, 3),
        "backbone_p3": Layer(4, 8, 256, 6),
        "backbone_p4": Layer(6, 16, 512, 6),
        "backbone_p5": Layer(8, 32, 1024, 3),
        "sppf": Layer(9, 32, 1024, 1),
        "neck_p4_down": Layer(12, 16, 512, 3),
        "neck_p3": Layer(15, 8, 256, 3),
        "neck_p4": Layer(18, 16, 512, 3),
        "neck_p5": Layer(21, 32, 1024, 3),
    },
    scales={
        "n": Scale(0.33, 0.25, 1024),
        "s": Scale(0.33, 0.50, 1024),
        "m": Scale(0.67, 0.75, 768),
        "l": Scale(1.00, 1.00, 512),
        "x": Scale(1.00, 1.25, 512),
    },
    head=22,
)


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


# model.name -> the network in place of YOLOv8's own backbone
MODELS: dict[str, Features | None] = {
    "yolov8": None,
    "yolov8_mobilenetv3_large": Features(
        "mobilenet_v3_large",
        channels={"backbone_p3": 40, "backbone_p4": 112},
        p5={"bottleneck": 160, "expanded": 960},
        files={"IMAGENET1K_V1": "mobilenet_v3_large-8738ca79.pth", "IMAGENET1K_V2": "mobilenet_v3_large-5c1a4163.pth"},
    ),
    "yolov8_mobilenetv3_small": Features(
        "mobilenet_v3_small",
        channels={"backbone_p3": 24, "backbone_p4": 48},
        p5={"bottleneck": 96, "expanded": 576},
        files={"IMAGENET1K_V1": "mobilenet_v3_small-047dcff4.pth"},
    ),
}
FEATURES = {features.network: features for features in MODELS.values() if features}  # by torchvision's name
