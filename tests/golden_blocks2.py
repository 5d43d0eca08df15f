"""Builders of LSKA and D-LKA: our constructors for the published ones. Parameter names are the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from acmix_exp.nn.dlka import DLKA, DLKAAttention, DLKABlock
from acmix_exp.nn.lska import LSKA, LSKAAttention, LSKABlock

Config = Mapping[str, Any]
Make = Callable[[Config], nn.Module]


def _builder(make: Make) -> Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], tuple[nn.Module, nn.Module]]:
    def build(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[nn.Module, nn.Module]:
        module = make(entry["config"]).double().eval()
        # index and mask tables of the reference are computed here: of the buffers only a norm's statistics are state
        statistics = module.state_dict().keys()
        state = {
            key.split("/", 1)[1]: torch.as_tensor(np.asarray(arrays[key]))
            for key in arrays
            if key.startswith("param/") or (key.startswith("buffer/") and key.removeprefix("buffer/") in statistics)
        }
        module.load_state_dict(state, strict=True)
        return module, module

    return build


LSKA_REPO, DLKA_REPO = "StevenLauHKHK/Large-Separable-Kernel-Attention", "xmindflow/deformableLKA"
MODULES: dict[tuple[str, str], Make] = {
    (LSKA_REPO, "LSKA"): lambda c: LSKA(c["dim"], c["k_size"]),
    (LSKA_REPO, "Attention"): lambda c: LSKAAttention(c["d_model"], c["k_size"]),
    (LSKA_REPO, "Block"): lambda c: LSKABlock(c["dim"], c["k_size"], c.get("mlp_ratio", 4.0)),
    (DLKA_REPO, "deformable_LKA"): lambda c: DLKA(c["dim"]),
    (DLKA_REPO, "deformable_LKA_Attention"): lambda c: DLKAAttention(c["d_model"]),
    (DLKA_REPO, "deformableLKABlock"): lambda c: DLKABlock(c["dim"], c.get("mlp_ratio", 4.0)),
}
BUILDERS = {key: _builder(make) for key, make in MODULES.items()}
