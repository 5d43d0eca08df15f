"""Efficient multi-scale attention. Not ultralytics' ModelEMA, which averages weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.nn.layers import with_shortcut
from acmix_exp.ops.checks import check_positive


class EMAttention(nn.Module):
    """Two branches of each group of channels weight each other's maps: (B, C, H, W) -> (B, C, H, W).

    The first branch gates the group by its row and column means and normalises it; the second is a 3x3 convolution.
    ``x * sigmoid(sum_c p1 second + sum_c p2 first)``, where p1 and p2 are softmaxes over the channels' means of the
    first and the second branch. All groups share the weights. Any map size from 1 x 1. Parameter names as published.

    Args:
        channels: C.
        factor: number of groups; divides C.

    Raises:
        ValueError: in one line, naming the factors that divide ``channels``.

    Source: Ouyang et al., Efficient Multi-Scale Attention Module with Cross-Spatial Learning, ICASSP 2023, section 2.
    """

    def __init__(self, channels: int, factor: int = 8) -> None:
        super().__init__()
        check_positive(channels=channels, factor=factor)
        if channels % factor:
            allowed = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise ValueError(f"factor must divide channels {channels} (one of {allowed}), got {factor}")
        self.channels = channels
        self.factor = factor
        width = channels // factor
        self.gn = nn.GroupNorm(width, width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        group = x.reshape(-1, self.channels // self.factor, height, width)
        means = torch.cat([group.mean(3, keepdim=True), group.mean(2, keepdim=True).transpose(2, 3)], dim=2)
        rows, columns = torch.sigmoid(self.conv1x1(means)).split([height, width], dim=2)
        gated = group * rows * columns.transpose(2, 3)
        # Not nn.GroupNorm: it refuses a single value per group, for which the result is the bias.
        first = torch.group_norm(gated, self.gn.num_groups, self.gn.weight, self.gn.bias, self.gn.eps)
        second = self.conv3x3(group)
        # The mean of a normalised map is the norm's bias.
        weigh_second = torch.softmax(self.gn.bias, 0).to(second.dtype).expand(group.shape[0], 1, -1)
        weigh_first = torch.softmax(second.mean((2, 3)), 1).to(first.dtype).unsqueeze(1)
        score = torch.bmm(weigh_first, first.flatten(2)) + torch.bmm(weigh_second, second.flatten(2))
        score = score.unflatten(2, (height, width))
        return (group * torch.sigmoid(score).to(x.dtype)).reshape(x.shape)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: convolutions and the two weighted sums."""
        group = self.channels // self.factor
        pixels = height * width
        return 2 * self.factor * (group**2 * (height + width + 9 * pixels) + 2 * group * pixels)

    def extra_repr(self) -> str:
        return f"{self.channels}, factor={self.factor}"


BY_FORM = {"unit": EMAttention, "residual": with_shortcut(EMAttention)}
