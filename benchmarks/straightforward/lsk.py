"""LSK as published."""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn.lsk import LSKUnit


def forward(block: LSKUnit, x: Tensor) -> Tensor:
    near = block.conv0(x)
    far = block.conv_spatial(near)
    near, far = block.conv1(near), block.conv2(far)
    both = torch.cat([near, far], dim=1)
    squeezed = torch.cat([both.mean(1, keepdim=True), both.max(1, keepdim=True)[0]], dim=1)
    select = block.conv_squeeze(squeezed).sigmoid()
    return x * block.conv(near * select[:, 0:1] + far * select[:, 1:2])


FORWARDS = {LSKUnit: forward}
