"""The weights of ACmix's forward pass: composed from its parameters in training, stored after fusing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from acmix_exp.nn.fusion import norm_affine
from acmix_exp.ops.shift_convolution import compose as compose_convolution

if TYPE_CHECKING:
    from acmix_exp.nn.acmix import ACmix


class Weights(NamedTuple):
    """The weights of one forward pass; those that the path does not use are None.

    projection, projection_bias: (3C, in_planes) and (3C); rows ordered by (feature of a head, query | key | value,
        head), so that the convolution reads contiguous groups.
    conv: (C, 3 * head, k, k), one group per feature, multiplied by rate2.
    conv_bias: (C).
    position: (head_dim, 2, 1, 1).
    rate: (1) or (C), factor of the attention's output.
    """

    projection: Tensor
    projection_bias: Tensor
    conv: Tensor | None
    conv_bias: Tensor | None
    position: Tensor | None
    rate: Tensor | None


def compose(block: ACmix) -> Weights:
    """Compose the weights of a block that is not fused, differentiably in each of its parameters."""
    convs = (block.conv1, block.conv2, block.conv3)
    split = (block.head, block.head_dim)
    weight = torch.stack([conv.weight for conv in convs]).flatten(2)
    bias = torch.stack([conv.bias for conv in convs])  # type: ignore[misc]
    conv = position = rate = None
    if block.has_conv:
        # Multiplying the weight by the rate is cheaper than multiplying the map.
        conv = compose_convolution(block.fc.weight, block.dep_conv.weight * block.rate2)
    if block.has_attention:
        position, rate = block.conv_p.weight, block.rate1
        if block.conv_p.bias is not None:
            # The bias cancels in the softmax. In the graph its gradient is zero instead of None.
            position = position + 0.0 * block.conv_p.bias[:, None, None, None]
    return Weights(
        weight.unflatten(1, split).permute(2, 0, 1, 3).flatten(0, 2),
        bias.unflatten(1, split).permute(2, 0, 1).flatten(),
        conv,
        None,
        position,
        rate,
    )


class FusedWeights(nn.Module):
    """``Weights`` as parameters without gradients, in the dtype of the block that they are composed from.

    With path "attention" there is no ``rate``: it is part of the value projection. With path "mixed" the convolution
    reads the values too, so the rate stays a factor in the sum of the branches, which multiplies and adds in one pass.
    """

    projection: Tensor
    projection_bias: Tensor
    conv: Tensor | None
    conv_bias: Tensor | None
    position: Tensor | None
    rate: Tensor | None

    @torch.no_grad()
    def __init__(self, block: ACmix, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        self.heads = (block.head, block.head_dim)
        dtype = block.conv1.weight.dtype
        weights = compose(copy.deepcopy(block).to(torch.promote_types(dtype, torch.float32)))
        if weights.conv is None:
            assert weights.rate is not None
            weights = self._with_scaled_values(weights, weights.rate.expand(block.out_planes), 0)._replace(rate=None)
        self._store(weights if norm is None else self._absorbed(weights, norm), dtype)

    @torch.no_grad()
    def absorb(self, norm: nn.BatchNorm2d) -> None:
        """Merge a BatchNorm that follows the block, by its running statistics, into the weights."""
        weights = Weights(*(getattr(self, name) for name in Weights._fields))
        self._store(self._absorbed(weights, norm), self.projection.dtype)

    def _absorbed(self, weights: Weights, norm: nn.BatchNorm2d) -> Weights:
        scale, shift = norm_affine(norm)
        if weights.conv is None:
            return self._with_scaled_values(weights, scale, shift)
        return weights._replace(
            conv=weights.conv * scale[:, None, None, None],
            conv_bias=shift if weights.conv_bias is None else weights.conv_bias * scale + shift,
            rate=None if weights.rate is None else weights.rate * scale,
        )

    def _with_scaled_values(self, weights: Weights, scale: Tensor, shift: Tensor | int) -> Weights:
        """Scale and shift the attention's output through its values: the attention weights of a window sum to 1."""
        rows = torch.arange(weights.projection.shape[0], device=weights.projection.device)
        rows = rows.view(self.heads[1], 3, self.heads[0])[:, 2].t().flatten()  # of the values, in the output's order
        projection, bias = (tensor.to(scale.dtype, copy=True) for tensor in weights[:2])
        projection[rows] *= scale[:, None]
        bias[rows] = bias[rows] * scale + shift
        return weights._replace(projection=projection, projection_bias=bias)

    def _store(self, weights: Weights, dtype: torch.dtype) -> None:
        for name, value in weights._asdict().items():
            kept = None if value is None else nn.Parameter(value.to(dtype, copy=True), requires_grad=False)
            self.register_parameter(name, kept)
