"""GAM as published: the MLP on a permuted map, and the convolutions."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.gam import GlobalAttention


def forward(block: GlobalAttention, x: Tensor) -> Tensor:
    first, second = block.mlp[0], block.mlp[2]
    pixels = x.permute(0, 2, 3, 1)
    hidden = torch.relu(torch.nn.functional.linear(pixels, first.weight.flatten(1), first.bias))
    logits = torch.nn.functional.linear(hidden, second.weight.flatten(1), second.bias)
    x = x * torch.sigmoid(logits.permute(0, 3, 1, 2))
    inner = torch.relu(block.norm1(block.narrow(x)))
    return x * torch.sigmoid(block.norm2(block.widen(inner)))


FORWARDS = {GlobalAttention: forward}
