"""Builders of LSKA, D-LKA, deformable attention (DAT) and HAT from the published constructors' arguments.

Parameter names are the published ones. Parameters that the published module has and does not use are ignored: the
offset network of deformable attention without offsets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from acmix_exp.nn.deformable_attention import DeformableAttention
from acmix_exp.nn.dlka import DLKA, DLKAAttention, DLKABlock
from acmix_exp.nn.hat import CAB, HAB, OCAB, RHAG
from acmix_exp.nn.lska import LSKA, LSKAAttention, LSKABlock

Config = Mapping[str, Any]
Make = Callable[[Config], nn.Module]


def _builder(make: Make) -> Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], tuple[nn.Module, nn.Module]]:
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[nn.Module, nn.Module]:
        module = make(entry["config"]).double().eval()
        unused = () if getattr(module, "offsets", True) else ("param/conv_offset.",)
        # The index and mask tables of the reference are computed here: only the buffers of a norm are loaded.
        statistics = tuple(f"buffer/{key}" for key in module.state_dict())
        state = {
            key.split("/", 1)[1]: torch.as_tensor(np.asarray(arrays[key]))
            for key in arrays
            if key in statistics or (key.startswith("param/") and not key.startswith(unused))
        }
        module.load_state_dict(state, strict=True)
        return module, module

    return build


def _deformable_attention(c: Config) -> nn.Module:
    encodings = {"dwc_pe": "depthwise", "fixed_pe": "fixed", "log_cpb": "log"}  # in order of priority
    position = next((name for key, name in encodings.items() if c.get(key)), "table")
    return DeformableAttention(
        c["n_heads"] * c["n_head_channels"],
        c["n_heads"],
        c["n_groups"],
        c["stride"],
        c["ksize"],
        None if c["offset_range_factor"] < 0 else c["offset_range_factor"],
        position if c["use_pe"] else "none",
        tuple(c["q_size"]),
        not c["no_off"],
    )


def _hybrid(c: Config) -> nn.Module:
    """A hybrid block with the published defaults.

    If a side of the map is not larger than the window, the published block uses this side as the window and no shift.
    """
    window, side = c.get("window_size", 7), _smaller_side(c)
    return HAB(
        c["dim"],
        c["num_heads"],
        min(window, side),
        c.get("shift_size", 0) if side > window else 0,
        c.get("compress_ratio", 3),
        c.get("squeeze_factor", 30),
        c.get("conv_scale", 0.01),
        c.get("mlp_ratio", 4.0),
    )


def _overlapping(c: Config) -> nn.Module:
    return OCAB(c["dim"], c["num_heads"], c["window_size"], c.get("overlap_ratio", 0.5), c.get("mlp_ratio", 2))


def _group(c: Config) -> nn.Module:
    narrowing = (c.get("compress_ratio", 3), c.get("squeeze_factor", 30))
    windows = (c["window_size"], c.get("overlap_ratio", 0.5))
    group = RHAG(
        c["dim"], c["depth"], c["num_heads"], *windows, *narrowing, c.get("conv_scale", 0.01), c.get("mlp_ratio", 4.0)
    )
    if _smaller_side(c) <= c["window_size"]:
        for block in group.residual_group.blocks:
            block.attn.shift = 0  # type: ignore[union-attr]
    return group


def _smaller_side(c: Config) -> float:
    return min(c.get("input_resolution", (math.inf,)))


HAT_REPO = "XPixelGroup/HAT"
LSKA_REPO, DLKA_REPO = "StevenLauHKHK/Large-Separable-Kernel-Attention", "xmindflow/deformableLKA"
MODULES: dict[tuple[str, str], Make] = {
    ("LeapLabTHU/DAT", "DAttentionBaseline"): _deformable_attention,
    (LSKA_REPO, "LSKA"): lambda c: LSKA(c["dim"], c["k_size"]),
    (LSKA_REPO, "Attention"): lambda c: LSKAAttention(c["d_model"], c["k_size"]),
    (LSKA_REPO, "Block"): lambda c: LSKABlock(c["dim"], c["k_size"], c.get("mlp_ratio", 4.0)),
    (DLKA_REPO, "deformable_LKA"): lambda c: DLKA(c["dim"]),
    (DLKA_REPO, "deformable_LKA_Attention"): lambda c: DLKAAttention(c["d_model"]),
    (DLKA_REPO, "deformableLKABlock"): lambda c: DLKABlock(c["dim"], c.get("mlp_ratio", 4.0)),
}
MODULES |= {
    (HAT_REPO, "CAB"): lambda c: CAB(c["num_feat"], c.get("compress_ratio", 3), c.get("squeeze_factor", 30)),
    (HAT_REPO, "HAB"): _hybrid,
    (HAT_REPO, "OCAB"): _overlapping,
    (HAT_REPO, "RHAG"): _group,
}
BUILDERS = {key: _builder(make) for key, make in MODULES.items()}
