"""ACmix's convolution branch as one grouped convolution.

The published form expands the stacked heads to kernel^2 feature maps by a 1x1 convolution (``fc``), then shifts and
sums these by a grouped convolution (``dep_conv``). Both are linear, so their weights are composed and the expanded
maps are never computed. Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022, section
4.1 and figure 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MERGED_OUTPUTS = 8  # outputs per group that a CPU convolution computes as one vector


def compose(fc_weight: Tensor, dep_weight: Tensor) -> Tensor:
    """Weights of the single convolution: (k^2, 3h, 1, 1) and (C, k^2, k, k) -> (C, 3h, k, k), with C / h groups."""
    with torch.autocast(fc_weight.device.type, enabled=False):
        return torch.einsum("tm,otyx->omyx", fc_weight.flatten(1), dep_weight)


def shift_convolution(stack: Tensor, fc_weight: Tensor, dep_weight: Tensor, stride: int = 1) -> Tensor:
    """The convolution branch of a stack of heads: (B, 3h, d, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    stack: the h heads of query, key and value. fc_weight: (k^2, 3h, 1, 1). dep_weight: (C, k^2, k, k) with C a multiple
    of d. Zero padding k // 2, k odd. Feature c of the heads gives the C / d output channels from c * C / d on. Fastest
    if ``stack`` is stored as (B, d, 3h, H, W).
    """
    return grouped_convolution(stack, compose(fc_weight, dep_weight), stride)


def grouped_convolution(stack: Tensor, weight: Tensor, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    """``shift_convolution`` with composed weights (C, 3h, k, k) and an optional bias (C)."""
    groups = stack.shape[2]
    if weight.device.type == "cpu" and torch.is_grad_enabled() and weight.requires_grad:
        weight, groups = _merge_groups(weight, groups)
    return F.conv2d(stack.transpose(1, 2).flatten(1, 2), weight, bias, stride, weight.shape[-1] // 2, 1, groups)


def _merge_groups(weight: Tensor, groups: int) -> tuple[Tensor, int]:
    """Merge adjacent groups block-diagonally until a group has MERGED_OUTPUTS outputs; returns weight and groups.

    With 4 outputs per group the backward pass of a CPU convolution takes twice as long as with merged groups.
    """
    outputs = weight.shape[0] // groups
    merged = next((n for n in range(1, groups + 1) if groups % n == 0 and n * outputs >= MERGED_OUTPUTS), 1)
    if merged == 1:
        return weight, groups
    pick = torch.eye(merged, dtype=weight.dtype).view(1, merged, 1, merged, 1, 1, 1)
    block = weight.view(groups // merged, merged, outputs, 1, *weight.shape[1:]) * pick
    return block.flatten(3, 4).flatten(0, 2), groups // merged


def shift_convolution_reference(stack: Tensor, fc_weight: Tensor, dep_weight: Tensor, stride: int = 1) -> Tensor:
    """The two published steps: the specification of ``shift_convolution``."""
    features = torch.einsum("tm,bmchw->bcthw", fc_weight.flatten(1), stack).flatten(1, 2)
    padding = dep_weight.shape[-1] // 2
    return F.conv2d(features, dep_weight, None, stride, padding, 1, stack.shape[2])
