"""RFAConv as published: the weighted taps are spread over a larger map, and a strided convolution follows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.rfaconv import RFAConv


def forward(block: RFAConv, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    side = block.spread.kernel_size[0]
    attention = block.weigh(F.avg_pool2d(x, side, stride=1, padding=side // 2))
    attention = attention.view(batch, channels, side**2, height, width).softmax(dim=2)
    features = torch.relu(block.norm(block.spread(x))).view(batch, channels, side**2, height, width)
    taps = (attention * features).view(batch, channels, side, side, height, width)
    spread = taps.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, height * side, width * side)
    weight = block.conv.weight.view(channels, channels, side, side)
    return F.conv2d(spread, weight, block.conv.bias, stride=side)


FORWARDS = {RFAConv: forward}
