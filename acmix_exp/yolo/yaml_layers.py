"""The layers of a network from its YAML, as ``parse_model`` of ultralytics builds them, without torch and ultralytics.

Kinds of layers that are not known here count as layers that keep channels and size; yolo/preflight.py compares all of
it with the network that is built.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Kinds whose first argument is the number of output channels, multiplied by the width of the scale.
_SCALED = (
    "Conv ConvTranspose GhostConv Bottleneck GhostBottleneck SPP SPPF C2fPSA C2PSA DWConv Focus BottleneckCSP C1 C2 "
    "C2f C3k2 RepNCSPELAN4 ELAN1 ADown AConv SPPELAN C2fAttn C3 C3TR C3Ghost nn.ConvTranspose2d DWConvTranspose2d C3x "
    "RepC3 PSA SCDown C2fCIB A2C2f"
)
SCALED = frozenset(_SCALED.split())
# Kinds that repeat a part inside; of other kinds, the whole layer is repeated in an nn.Sequential.
_REPEATED = "BottleneckCSP C1 C2 C2f C3k2 C2fAttn C3 C3TR C3Ghost C3x RepC3 C2fPSA C2fCIB C2PSA A2C2f HGBlock"
REPEATED = frozenset(_REPEATED.split())


@dataclass(frozen=True)
class Layer:
    """A layer of the network.

    kind: its class, as in the YAML. inputs: indices of the layers it reads; -1 is the image. channels: of its output.
    stride: pixels of the image per pixel of its output, seen along one side. repeats: after scaling. args: those of the
    YAML. part: backbone or head. scale: of the network; empty if the YAML has none.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    channels: int
    stride: float
    repeats: int = 1
    args: tuple[Any, ...] = ()
    part: str = "backbone"
    scale: str = ""

    @property
    def built_as(self) -> str:
        """The class of the module that ultralytics builds."""
        return "Sequential" if self.repeats > 1 and self.kind not in REPEATED else self.kind.rpartition(".")[2]


def layers(yaml: Mapping[str, Any], scale: str, given: Mapping[int, Layer] | None = None) -> tuple[Layer, ...]:
    """The layers of a network in order. ``given``: layers that do not follow from their rows, by index.

    Raises ValueError, which says what is wrong where, if ``yaml`` is no network.
    """
    depth, width, most = _factors(yaml, scale)
    found: list[Layer] = []
    parts = [(part, row) for part in ("backbone", "head") for row in _rows(yaml, part)]
    for index, (part, row) in enumerate(parts):
        sources, number, kind, values = row
        if given and index in given:
            found.append(given[index])
            continue
        args = tuple(_literal(value) for value in values)
        try:
            inputs = tuple(_source(source, index) for source in ([sources] if isinstance(sources, int) else sources))
            repeats = max(round(number * depth), 1) if number > 1 else number
            channels = _channels(kind, args, [found[i].channels if i >= 0 else 3 for i in inputs], width, most)
            strides = [found[i].stride if i >= 0 else 1.0 for i in inputs]
            stride = strides[-1 if kind == "CBFuse" else 0] * _stride(kind, args)
            if not (channels > 0 and 0 < stride < math.inf):
                raise ValueError(f"gives {channels} channels at stride {stride:g}")
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"layer {index}, {kind}, cannot be read ({error})") from error
        found.append(Layer(index, kind, inputs, channels, stride, repeats, args, part, scale))
    return tuple(found)


def _factors(yaml: Mapping[str, Any], scale: str) -> tuple[float, float, float]:
    """Depth, width and the most channels of a scale."""
    if scales := yaml.get("scales"):
        depth, width, most = scales[scale]
        return depth, width, most
    return yaml.get("depth_multiple", 1.0), yaml.get("width_multiple", 1.0), math.inf


def _rows(yaml: Mapping[str, Any], part: str) -> Sequence[Any]:
    rows = yaml.get(part)
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"has no list of layers {part}:")
    for number, row in enumerate(rows):
        fine = isinstance(row, list) and len(row) == 4 and isinstance(row[1], int) and isinstance(row[2], str)
        if not (fine and isinstance(row[0], (int, list)) and isinstance(row[3], list)):
            raise ValueError(f"row {number} of {part}: is {row}; must be [from, repeats, module, args]")
    return rows


def _source(source: int, index: int) -> int:
    """The index of a layer that a row names, as it counts from the front or back from itself; -1 is the image."""
    found = index + source if source < 0 else source
    if not -1 <= found < index:
        raise ValueError(f"reads layer {source}, and must read one before it")
    return found


def _literal(value: Any) -> Any:
    """An argument as ultralytics reads it: ``None`` is quoted by nobody."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def _channels(kind: str, args: Sequence[Any], inputs: Sequence[int], width: float, most: float) -> int:
    if kind in SCALED:
        return math.ceil(min(args[0], most) * width / 8) * 8
    if kind in ("HGBlock", "HGStem"):
        return int(args[1])
    if kind == "ResNetLayer":
        return int(args[1] if args[3] else args[1] * 4)
    if kind == "Concat":
        return sum(inputs)
    if kind in ("TorchVision", "Index"):
        return int(args[0])
    if kind == "CBLinear":
        return sum(args[0])  # of several outputs
    return inputs[-1 if kind == "CBFuse" else 0]


def _stride(kind: str, args: Sequence[Any]) -> float:
    """Pixels of the input per pixel of the output, along one side."""
    if kind in ("Conv", "DWConv", "GhostConv", "GhostBottleneck", "SCDown"):
        return float(args[2]) if len(args) > 2 else 1.0
    if kind in ("ConvTranspose", "nn.ConvTranspose2d", "DWConvTranspose2d"):
        return 1 / (args[2] if len(args) > 2 else 2 if kind == "ConvTranspose" else 1)
    if kind == "nn.Upsample":
        return 1 / args[1]
    if kind == "nn.MaxPool2d":
        return float(args[1] if len(args) > 1 else args[0])
    if kind == "ResNetLayer":
        return 4.0 if args[3] else float(args[2])
    return {"ADown": 2.0, "AConv": 2.0, "Focus": 2.0, "HGStem": 4.0}.get(kind, 1.0)
