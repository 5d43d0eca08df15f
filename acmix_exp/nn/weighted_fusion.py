"""The weighted fusion of BiFPN, for maps that are concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acmix_exp.ops.checks import check_positive, is_tracing_or_exporting


class WeightedFusion(nn.Module):
    """``[w_1 x_1, ..., w_n x_n]`` with ``w_i = relu(v_i) / (e + sum_j relu(v_j))``: n maps (B, C_i, H, W) to one.

    The result has the sum of all C_i channels, so the layer behind it keeps its weights. The paper adds the maps, which
    then need equal channels; everything else is as published. Each v_i is a scalar that starts at 1.

    Args:
        inputs: n.
        epsilon: e above.
        keep_scale: multiply the weights by n, so that at first they are 1, as in a concatenation.

    Source: Tan, Pang and Le, EfficientDet, CVPR 2020, section 3.3, "fast normalized fusion".
    """

    def __init__(self, inputs: int, epsilon: float = 1e-4, keep_scale: bool = False) -> None:
        super().__init__()
        check_positive(inputs=inputs)
        if not 0 < epsilon < float("inf"):
            raise ValueError(f"epsilon must be a number above 0, got {epsilon}")
        self.epsilon = epsilon
        self.gain = inputs if keep_scale else 1
        self.weights = nn.Parameter(torch.ones(inputs))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        positive = self.weights.relu()
        shares = self.gain * positive / (self.epsilon + positive.sum())
        factors = [share.to(x.dtype) for x, share in zip(maps, shares.unbind(), strict=True)]
        if torch.is_grad_enabled() or is_tracing_or_exporting():
            return torch.cat([x * factor for x, factor in zip(maps, factors, strict=True)], 1)
        fused = torch.cat(tuple(maps), 1)  # in place, no map but the result is written
        for part, factor in zip(fused.split([x.shape[1] for x in maps], 1), factors, strict=True):
            part.mul_(factor)
        return fused

    def flops(self, height: int, width: int) -> int:
        """Operations in convolutions and matrix products: none."""
        return 0

    def extra_repr(self) -> str:
        return f"{len(self.weights)}, epsilon={self.epsilon}, gain={self.gain}"
