"""The sites of the slots ``down``, ``up``, ``fuse`` and ``loss`` in a network, by role and level, without torch.

==========  ========================================================================================================
down        ``backbone_pN``, ``neck_pN``: the strided convolution whose result is of level N
up          ``neck_pN``: the upsampling of the neck whose result is of level N
fuse        ``neck_pN``: the concatenation before a stage that the head reads; ``neck_pN_down``: before another
loss        ``head``: the box loss of the detection head
==========  ========================================================================================================

A full name begins with the slot, as in ``down_backbone_p4``. ``all``, ``backbone`` and ``neck`` stand for several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from acmix_exp.slot_rules import SLOTS
from acmix_exp.yolo.yaml_layers import Layer

# Heads whose criterion has a box loss with a CIoU. OBB boxes are compared by ProbIoU, RT-DETR's by GIoU, in a matching.
WITH_CIOU = ("Detect", "v10Detect", "Segment", "Segment26", "Pose", "Pose26", "YOLOEDetect", "YOLOESegment")
OTHER_STRIDED = ("ADown", "AConv", "SCDown", "DWConv", "GhostConv", "HGStem", "Focus", "ResNetLayer", "nn.MaxPool2d")
KINDS = {"down": "Conv", "up": "nn.Upsample", "fuse": "Concat"}


def slot_layers(layers: Sequence[Layer], slot: str) -> dict[str, Layer]:
    """The layers of a slot by the names of their sites, in network order."""
    if slot == "loss":
        return {"loss_head": layers[-1]} if layers[-1].kind in WITH_CIOU else {}
    found: dict[str, Layer] = {}
    for layer in layers[:-1]:
        level = math.log2(layer.stride)
        if level.is_integer() and _is_of(layer, layers, slot):
            role = f"{slot}_{'backbone' if layer.part == 'backbone' else 'neck'}_p{int(level)}"
            if slot == "fuse" and not _feeds_head(layer, layers):
                role += "_down"
            found[role if role not in found else f"{role}_{layer.index}"] = layer
    return found


def slot_groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Names that stand for several sites of a slot; those without any are left out."""
    groups = {"all": list(names)}
    for part in ("backbone", "neck"):
        groups[part] = [name for name in names if name.partition("_")[2].startswith(f"{part}_")]
    return {name: group for name, group in groups.items() if group}


def inputs_of(layer: Layer, layers: Sequence[Layer]) -> tuple[int, ...]:
    """The channels of the maps that a layer reads."""
    return tuple(layers[index].channels if index >= 0 else 3 for index in layer.inputs)


def why_none(layers: Sequence[Layer], slot: str) -> str:
    """Why a network has no site of a slot, in words that follow its name."""
    if slot == "loss":
        return f"its head, {layers[-1].kind}, has no box loss with a CIoU; use a detector, segmenter or pose model"
    if slot == "fuse" and (single := [str(each.index) for each in layers if each.kind == "Concat"]):
        return f"its concatenations (layers {', '.join(single)}) read one map each, and there is nothing to weight"
    others = [f"{each.kind} (layer {each.index})" for each in layers if slot == "down" and each.kind in OTHER_STRIDED]
    seen = f"; it has {', '.join(others[:3])} in its place" if others else ""
    cure = "use a placement in the backbone" if layers[-1].kind == "Classify" else "use another family, such as yolov8"
    return f"it has no {SLOTS[slot].removeprefix('a ').removeprefix('an ')}{seen}; {cure}"


def reasons(layers: Sequence[Layer], slot: str, value: str) -> str | None:
    """Why the layer of an index is no site of a slot; None if ``value`` is no index of a layer."""
    if slot == "loss" or not value.isdigit() or int(value) >= len(layers):
        return None
    layer = layers[int(value)]
    if layer.kind == KINDS[slot] == "Concat":
        return f"layer {value} concatenates one map, and there is nothing to weight"
    return f"layer {value} is {layer.kind}, and not {SLOTS[slot]}"


def _is_of(layer: Layer, layers: Sequence[Layer], slot: str) -> bool:
    if layer.kind != KINDS[slot] or layer.repeats != 1:
        return False
    if slot == "fuse":
        return len(layer.inputs) > 1
    source = layer.inputs[0]
    ratio = layer.stride / (layers[source].stride if source >= 0 else 1)
    if slot == "up":
        return ratio == 0.5
    kernel, groups = (layer.args[index] if len(layer.args) > index else 1 for index in (1, 4))
    return ratio == 2 and kernel == 3 and groups == 1


def _feeds_head(concatenation: Layer, layers: Sequence[Layer]) -> bool:
    """Whether the stage that reads the concatenation is one that the head reads."""
    readers = [layer for layer in layers if concatenation.index in layer.inputs]
    return any(reader.index in layers[-1].inputs or reader is layers[-1] for reader in readers)


def as_named(values: Mapping[str, Layer], value: object) -> list[str]:
    """The sites of a slot that a name, a group or a layer's index stands for; empty if it is none."""
    text = str(value).strip().replace(".", "_").lower()
    groups = slot_groups(list(values))
    if text in groups:
        return groups[text]
    if text.isdigit():
        return [name for name, layer in values.items() if layer.index == int(text)]
    return [name for name in values if text in (name, name.partition("_")[2])]
