"""The slots of a network and the blocks that fit one slot alone. A placement names its slot as its ``mode``.

==================  ================================================================================================
after               behind a layer; any block that keeps the shape of a map
replace, swap       in place of a 3x3 convolution of a bottleneck, of an attention; any such block too
down                in place of a strided convolution: (B, C_in, H, W) -> (B, C_out, H/2, W/2)
up                  in place of an upsampling of the neck: (B, C, H, W) -> (B, C, 2H, 2W)
fuse                in place of a concatenation of the neck: several maps of one size -> one
loss                in place of the CIoU in the box loss; the network that is trained is the stock network
==================  ================================================================================================

The controls ``identity``, ``join``, ``conv3x3`` and ``conv3x3_matched`` stand behind the layer of a slot, whose stock
operation stays; in the slot ``loss`` there is ``identity`` alone, the stock CIoU by the same way. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acmix_exp.block_options import Constraint, SlotBlock, choice, number, odd, positive, switch, whole

MAPS = ("after", "replace", "swap")  # modes of placements that take any block which keeps a map's shape
SLOTS = {  # mode of a placement: what a block of that slot stands in place of
    "down": "a strided convolution",
    "up": "an upsampling",
    "fuse": "a concatenation",
    "loss": "the CIoU in the box loss",
}
CONVOLUTIONS = ("pconv", "rfaconv", "wtconv")  # made to stand in place of a 3x3 convolution
CONTROLS = ("identity", "join", "conv3x3", "conv3x3_matched")  # which fit every slot but ``loss``
ASSIGNERS = ("stock", "same")  # of loss.assigner

DIVIDES_GROUPS = Constraint(
    "groups", "divide the channels of every site", lambda channels, options: channels % options["groups"] == 0
)

SLOT_RULES = {
    "bifpn": SlotBlock(
        "fuse",
        "weighted_fusion.WeightedFusion",
        "Weighted fusion (EfficientDet, CVPR 2020): learned non-negative weights of the concatenated maps.",
        epsilon=positive(1e-4, "added to the sum of the weights"),
        keep_scale=switch(False, "true: weights times the number of maps, so that it starts as the concatenation"),
    ),
    "bilinear": SlotBlock(
        "up", "dysample.Bilinear", "Bilinear upsampling, without weights: what of DySample is not learned."
    ),
    "carafe": SlotBlock(
        "up",
        "carafe.Carafe",
        "CARAFE (ICCV 2019): each new pixel is a weighted mean of a window, with weights predicted from the map.",
        kernel_up=odd(5, "side of the window in pixels"),
        kernel_encoder=odd(3, "side of the convolution that predicts the weights"),
        compressed=whole(64, "channels that the weights are predicted from"),
    ),
    "dysample": SlotBlock(
        "up",
        "dysample.DySample",
        "DySample (ICCV 2023): each new pixel is sampled at a learned point near its own.",
        DIVIDES_GROUPS,
        groups=whole(4, "groups of channels with points of their own"),
        dynamic=switch(False, "true: the reach of the points is learned too, as in DySample+"),
    ),
    "inner_iou": SlotBlock(
        "loss",
        "box_losses.InnerIoU",
        "Inner-IoU (arXiv 2311.02877) with CIoU: the overlap of boxes that are scaled about their centres.",
        ratio=positive(0.7, "of the sides of the scaled boxes: below 1 for boxes that overlap much, above 1 for few"),
    ),
    "mpdiou": SlotBlock(
        "loss",
        "box_losses.MPDIoU",
        "MPDIoU (arXiv 2307.07662): IoU less the distances of both corners, by the diagonal of the image.",
    ),
    "shape_iou": SlotBlock(
        "loss",
        "box_losses.ShapeIoU",
        "Shape-IoU (arXiv 2312.17663): distances and sides count by the shape of the true box, if scale is above 0.",
        scale=number(
            0.0, "power of the sides that weigh both axes, by the scale of the objects; 0: both alike, whatever the box"
        ),
    ),
    "spd_conv": SlotBlock(
        "down",
        "spd_conv.SPDConv",
        "SPD-Conv (ECML PKDD 2022): pixels are moved into channels, and a convolution without stride follows.",
        kernel_size=odd(3, "side of that convolution"),
    ),
    "wiou": SlotBlock(
        "loss",
        "box_losses.WIoU",
        "Wise-IoU (arXiv 2301.10051): IoU loss weighted by the distance of the centres, and from v2 by its own size.",
        version=choice(
            "v3", ("v1", "v2", "v3"), "v1: distance alone; v2: monotonic; v3: most for boxes of middling loss"
        ),
        gamma=positive(0.5, "power of the relative loss", version="v2"),
        alpha=positive(1.9, "base of the falling weight", version="v3"),
        delta=positive(3.0, "relative loss at which the weight is 1", version="v3"),
        momentum=positive(
            None, "of the running mean of the loss; null: by the steps of a training", version=("v2", "v3")
        ),
    ),
}
SIMILARITIES = ("inner_iou", "mpdiou", "shape_iou")  # losses that can take the assigner's IoU's place too


def slot_of(block: Mapping[str, Any]) -> str | None:
    """The slot of a config's ``block``; None if it goes wherever a map keeps its shape."""
    rules = SLOT_RULES.get(str(block.get("name")))
    return rules.slot if rules else None


def slot_faults(block: Mapping[str, Any], mode: str) -> list[str]:
    """A line if a config's ``block`` does not go with a placement of that mode, which says what would."""
    name, slot = str(block.get("name")), slot_of(block)
    line = f"block={name} model.placement.mode={mode}"
    if slot is not None and slot != mode:
        return [f"{line}: it stands in place of {SLOTS[slot]}; use model/placement={slot}"]
    if slot is None and mode in SLOTS and not (name in CONTROLS and (mode != "loss" or name == "identity")):
        right = ", ".join(sorted(key for key, rules in SLOT_RULES.items() if rules.slot == mode))
        return [f"{line}: a block there stands in place of {SLOTS[mode]}; use block={right}, or another placement"]
    return []
