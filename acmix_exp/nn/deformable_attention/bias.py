"""Position biases on the logits of deformable attention: (B, heads, H W, Ns) from the queries' displacements."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.deformable_attention.positions import displacements

LOG_HIDDEN = 32


def table_bias(table: Tensor, positions: Tensor, groups: int, height: int, width: int) -> Tensor:
    """The planes (heads, th, tw) of ``table``, sampled where the displacement falls: the table spans [-2, 2] x [-2, 2].

    positions: (B groups, h, w, 2). Any map size runs with any table.
    """
    heads = table.shape[0]
    along_y, along_x = displacements(height, width, positions)
    count = along_y.shape[3]
    pairs = positions.shape[0], height, width, count
    grid = torch.stack([(along_x / 2).expand(pairs), (along_y / 2).expand(pairs)], -1)
    batch = positions.shape[0] // groups
    planes = table.to(grid.dtype).reshape(groups, heads // groups, *table.shape[1:]).repeat(batch, 1, 1, 1)
    bias = F.grid_sample(planes, grid.reshape(pairs[0], height * width, count, 2), align_corners=True)
    return bias.reshape(batch, heads, height * width, count)


def log_bias(mlp: nn.Sequential, positions: Tensor, groups: int, height: int, width: int) -> Tensor:
    """An MLP of the logarithm of the displacement, the same for all groups.

    The first layer is a sum of a part for y and a part for x, so it is applied to rows and columns, not to pairs.
    """
    first, last = mlp[0], mlp[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    along_y, along_x = (_log(4 * along) for along in displacements(height, width, positions))
    weight = first.weight.to(along_y.dtype)
    by_y = along_y[..., None] * weight[:, 0] + first.bias.to(along_y.dtype)
    hidden = (by_y + along_x[..., None] * weight[:, 1]).relu()
    bias = (hidden @ last.weight.to(along_y.dtype).t()).permute(0, 4, 1, 2, 3)
    heads = groups * last.weight.shape[0]
    return bias.reshape(positions.shape[0] // groups, heads, height * width, along_y.shape[3])


def _log(displacement: Tensor) -> Tensor:
    return displacement.sign() * torch.log2(displacement.abs() + 1) / 3
