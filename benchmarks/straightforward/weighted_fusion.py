"""BiFPN's fast normalised fusion, one map after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from acmix_exp.nn.weighted_fusion import WeightedFusion


def forward(block: WeightedFusion, maps: Sequence[Tensor]) -> Tensor:
    weights = [value.clamp(min=0) for value in block.weights]
    total = sum(weights) + block.epsilon
    return torch.cat([block.gain * weight / total * x for weight, x in zip(weights, maps, strict=True)], 1)


FORWARDS = {WeightedFusion: forward}
