"""Polarized self-attention as published: every pixel is projected, then pooled."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.polarized_self_attention import PolarizedParallel, PolarizedSequential


def parallel(block: PolarizedParallel, x: Tensor) -> Tensor:
    query = block.conv_q_left(x).mean((2, 3)).unsqueeze(1)
    score = torch.bmm(query, block.conv_v_left(x).flatten(2)).softmax(2)
    return _by_channel(block, x) + x * score.sigmoid().reshape(x.shape[0], 1, *x.shape[2:])


def sequential(block: PolarizedSequential, x: Tensor) -> Tensor:
    x = _by_channel(block, x)
    query = block.conv_q_left(x).mean((2, 3)).unsqueeze(1)
    score = torch.bmm(query, block.conv_v_left(x).flatten(2).softmax(2))
    return x * score.sigmoid().reshape(x.shape[0], 1, *x.shape[2:])


def _by_channel(block: PolarizedParallel | PolarizedSequential, x: Tensor) -> Tensor:
    weights = block.conv_q_right(x).flatten(2).softmax(2)
    pooled = torch.bmm(block.conv_v_right(x).flatten(2), weights.transpose(1, 2))
    return x * block.conv_up(pooled.unsqueeze(3)).sigmoid()


FORWARDS = {PolarizedParallel: parallel, PolarizedSequential: sequential}
