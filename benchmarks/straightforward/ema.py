"""EMA as published."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.ema import EMAttention


def forward(block: EMAttention, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    group = x.reshape(batch * block.factor, channels // block.factor, height, width)
    rows = group.mean(3, keepdim=True)
    columns = group.mean(2, keepdim=True).permute(0, 1, 3, 2)
    mixed = block.conv1x1(torch.cat([rows, columns], dim=2))
    rows, columns = mixed[:, :, :height], mixed[:, :, height:].permute(0, 1, 3, 2)
    first = block.gn(group * rows.sigmoid() * columns.sigmoid())
    second = block.conv3x3(group)
    weigh_second = first.mean((2, 3)).softmax(1).unsqueeze(1)
    weigh_first = second.mean((2, 3)).softmax(1).unsqueeze(1)
    score = torch.bmm(weigh_second, second.flatten(2)) + torch.bmm(weigh_first, first.flatten(2))
    score = score.reshape(batch * block.factor, 1, height, width)
    return (group * score.sigmoid()).reshape(batch, channels, height, width)


FORWARDS = {EMAttention: forward}
