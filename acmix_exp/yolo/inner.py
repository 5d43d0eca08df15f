"""What a block can replace inside a layer: the second k x k convolution of each bottleneck, and attention.

A block keeps channels and size, so the convolution must too: as many outputs as inputs, one group, stride 1. Read from
the row of the YAML, as the classes of ultralytics are built from it; yolo/preflight.py compares it with the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from acmix_exp.yolo.yaml_layers import Layer

NARROWED = "the second 3x3 of its bottlenecks has twice as many outputs as inputs"
# Kinds without such a convolution: what they have in its place.
OTHERS = {
    "C2fCIB": "its bottlenecks are of depthwise convolutions",
    "C3Ghost": "its bottlenecks are of ghost convolutions",
    "C3TR": "it holds a transformer",
    "C3x": "its bottlenecks are of 1x3 and 3x1 convolutions",
    "ELAN1": "its 3x3 convolutions are in no bottleneck",
    "HGBlock": "its convolutions are in no bottleneck",
    "MobileNetV3Stage": "its bottlenecks are of depthwise convolutions",
    "RepC3": "its convolutions are in no bottleneck",
}


@dataclass(frozen=True)
class Inner:
    """Replaceable modules of a layer. paths: of the modules in the layer, in its order. channels: of each."""

    paths: tuple[str, ...]
    channels: int


def second_convolutions(layer: Layer) -> Inner | str:
    """The second k x k convolutions of the layer's bottlenecks, or why it has none that a block can replace."""
    kind, args, repeats = layer.kind, layer.args, layer.repeats
    if kind in ("C2f", "C2", "C3"):
        groups, ratio = _given(args, 2, 1), _given(args, 3, 0.5)
        return _square(groups, [f"m.{i}.cv2" for i in range(repeats)], int(layer.channels * ratio))
    if kind == "C3k2":
        nested, ratio, attention, groups = (
            _given(args, i, default) for i, default in ((1, False), (2, 0.5), (3, False), (4, 1))
        )
        if attention or not (nested or layer.scale in ("m", "l", "x")):
            return NARROWED
        return _nested(groups, repeats, int(layer.channels * ratio))
    if kind == "A2C2f":
        if _given(args, 1, True):
            return "it holds area attention and no bottleneck"
        return _nested(_given(args, 6, 1), repeats, int(layer.channels * _given(args, 5, 0.5)))
    if kind == "RepNCSPELAN4":
        paths = [f"{part}.0.m.{i}.cv2" for part in ("cv2", "cv3") for i in range(_given(args, 3, 1))]
        return _square(1, paths, int(args[2] * 0.5))
    if kind == "ResNetLayer" and not args[3]:
        first = 0 if args[2] == 1 else 1  # the first block halves the map where the layer does
        return _square(1, [f"layer.{i}.cv2" for i in range(first, args[4])], int(args[1]))
    if kind == "Bottleneck":
        return NARROWED
    return OTHERS.get(kind, "it has no bottleneck")


def attentions(layer: Layer) -> Inner | str:
    """The attention modules of a layer, (B, C, H, W) to the same, or why it has none."""
    kind, args, repeats = layer.kind, layer.args, layer.repeats
    if kind == "AIFI":
        return Inner(("ma",), layer.channels)
    if kind == "PSA":
        paths = ["attn"] if repeats == 1 else [f"{i}.attn" for i in range(repeats)]
        return Inner(tuple(paths), int(layer.channels * _given(args, 1, 0.5)))
    if kind in ("C2PSA", "C2fPSA"):
        return Inner(tuple(f"m.{i}.attn" for i in range(repeats)), int(layer.channels * _given(args, 1, 0.5)))
    if kind == "A2C2f" and _given(args, 1, True):
        paths = [f"m.{i}.{j}.attn" for i in range(repeats) for j in range(2)]
        return Inner(tuple(paths), int(layer.channels * _given(args, 5, 0.5)))
    if kind == "C3k2" and _given(args, 3, False):
        return Inner(tuple(f"m.{i}.1.attn" for i in range(repeats)), int(layer.channels * _given(args, 2, 0.5)))
    return "it holds no attention"


def _given(args: tuple[Any, ...], index: int, default: Any) -> Any:
    return args[index] if len(args) > index else default


def _square(groups: int, paths: list[str], channels: int) -> Inner | str:
    if groups != 1:
        return f"the 3x3 convolutions of its bottlenecks have {groups} groups"
    return Inner(tuple(paths), channels) if paths else "it has no bottleneck of stride 1"


def _nested(groups: int, repeats: int, channels: int) -> Inner | str:
    """Those of ``repeats`` C3k of two bottlenecks each, half as wide as what they are in."""
    return _square(groups, [f"m.{i}.m.{j}.cv2" for i in range(repeats) for j in range(2)], int(channels * 0.5))
