"""What ACmix multiplies by: composed from its parameters in every training step, stored once it is fused."""

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
    """The factors of one forward pass, None where a path has no use for one.

    projection, projection_bias: (3C, in_planes) and (3C); rows by (feature of a head, query | key | value, head), so
        that the convolution reads contiguous groups. conv: (C, 3 * head, k, k), groups of one feature, with rate2.
    conv_bias: (C). position: (head_dim, 2, 1, 1). rate: (1) or (C), factor of the attention's output.
    """

    projection: Tensor
    projection_bias: Tensor
    conv: Tensor | None
    conv_bias: Tensor | None
    position: Tensor | None
    rate: Tensor | None


def compose(block: ACmix) -> Weights:
    """The weights of a block that is not fused. Differentiable in each of its parameters."""
    convs = (block.conv1, block.conv2, block.conv3)
    split = (block.head, block.head_dim)
    weight = torch.stack([conv.weight for conv in convs]).flatten(2)
    bias = torch.stack([conv.bias for conv in convs])  # type: ignore[misc]
    conv = position = rate = None
    if block.has_conv:
        # The rate is a factor of the small weight, not of a map.
        conv = compose_convolution(block.fc.weight, block.dep_conv.weight * block.rate2)
    if block.has_attention:
        position, rate = block.conv_p.weight, block.rate1
        if block.conv_p.bias is not None:
            # It cancels in the softmax. Kept in the graph, its gradient is zero, not None.
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
    """``Weights`` kept as parameters without gradients, in the dtype of the block that they are taken from.

    The path attention has no ``rate``: its factor is in the value projection, which no one else reads. In the
    mixture the values feed the convolution too, so the factor stays where the branches are added, at no cost:
    that sum multiplies and adds in one pass.
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
        """Take a BatchNorm that follows the block into the weights, with its running statistics."""
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
        """Attention's output channels scaled and shifted by way of its values, for the shares of a window sum to 1."""
        rows = torch.arange(weights.projection.shape[0], device=weights.projection.device)
        rows = (
            rows.view(self.heads[1], 3, self.heads[0])[:, 2].t().flatten()
        )  # of the values, as the output orders them
        projection, bias = (tensor.to(scale.dtype, copy=True) for tensor in weights[:2])
        projection[rows] *= scale[:, None]
        bias[rows] = bias[rows] * scale + shift
        return weights._replace(projection=projection, projection_bias=bias)

    def _store(self, weights: Weights, dtype: torch.dtype) -> None:
        for name, value in weights._asdict().items():
            kept = None if value is None else nn.Parameter(value.to(dtype, copy=True), requires_grad=False)
            self.register_parameter(name, kept)
