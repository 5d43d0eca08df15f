"""Which group of the optimizer a parameter of a block is in: by its kind, where ultralytics goes by its name.

====== ================== ================= =================================================================
group  weight decay       learning rate     kinds
====== ================== ================= =================================================================
weight yes                from 0            weights of convolutions and linear layers, and other matrices and
                                            filters whose name says ``weight`` or ``kernel``
bn     no                 from 0            weights of norms; vectors: rates, layer scales, temperatures;
                                            position tables, embeddings and every other free tensor
bias   no                 from              biases: the ``bias`` of a layer, and vectors that are named so
                          warmup_bias_lr
====== ================== ================= =================================================================

The learning rates are those of the first step of the warm-up. Position tables are not decayed in the code of Swin (Liu
et al., ICCV 2021), from which HAT's tables come, and of DAT (Xia et al., CVPR 2022); all blocks are treated alike.
The layers of the stock network stay in the groups of ultralytics.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import ParametrizationList

from acmix_exp.yolo.slot_wrap import HOLDERS

LAYERS = (_ConvNd, nn.Linear, nn.Bilinear)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def group_of(module: nn.Module, name: str, parameter: torch.Tensor) -> str:
    """``weight``, ``bn`` or ``bias`` for the parameter ``name`` that ``module`` itself holds."""
    words = name.lower().split("_")
    is_vector = sum(size > 1 for size in parameter.shape) <= 1  # (C), and (1, C, 1, 1) as well
    if "bias" in (words[0], words[-1]) and (is_vector or isinstance(module, NORMS)):
        return "bias"
    if isinstance(module, LAYERS) and name == "weight":
        return "weight"
    if is_vector or isinstance(module, (*NORMS, nn.Embedding)):
        return "bn"
    is_weight = "weight" in words or "kernel" in words or isinstance(module, ParametrizationList)
    return "weight" if is_weight else "bn"


def regroup(optimizer: torch.optim.Optimizer, model: nn.Module, unmoved: Collection[nn.Parameter] = ()) -> None:
    """Move the parameters of the blocks of ``model`` to their groups of ``optimizer``, before the first step.

    ``unmoved``: to the group ``bn``, such as the biases of norms whose weight is zero, which alone make the output.
    A parameter that moves is appended, so that the state of a checkpoint still fits where nothing moves.
    """
    kinds = {
        id(parameter): group_of(module, name, parameter)
        for holder in model.modules()
        if isinstance(holder, HOLDERS)
        for module in holder.modules()
        for name, parameter in module.named_parameters(recurse=False)
    }
    kinds |= {id(parameter): "bn" for parameter in unmoved}
    groups = {group["param_group"]: group for group in optimizer.param_groups}
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(f"the optimizer has several groups of one kind: {[*groups]}")
    moved: dict[str, list[nn.Parameter]] = {kind: [] for kind in groups}
    for kind, group in groups.items():
        for parameter in group["params"]:
            if kinds.get(id(parameter), kind) != kind:
                moved[kinds[id(parameter)]].append(parameter)
        group["params"] = [parameter for parameter in group["params"] if kinds.get(id(parameter), kind) == kind]
    for kind, group in groups.items():
        group["params"] += moved[kind]
