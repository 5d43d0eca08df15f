"""Polarized self-attention, parallel and sequential. Not ultralytics' PSA, which is a different module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.nn.layers import with_shortcut
from acmix_exp.ops.checks import check_positive


class _Polarized(nn.Module):
    """The projections that both layouts share. Parameter names as published."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_positive(channels=channels)
        if channels % 2:
            raise ValueError(f"channels must be even, got {channels}")
        self.channels = channels
        half = channels // 2
        self.conv_q_right = nn.Conv2d(channels, 1, 1, bias=False)
        self.conv_v_right = nn.Conv2d(channels, half, 1, bias=False)
        self.conv_q_left = nn.Conv2d(channels, half, 1, bias=False)
        self.conv_v_left = nn.Conv2d(channels, half, 1, bias=False)
        for conv in (self.conv_q_right, self.conv_v_right, self.conv_q_left, self.conv_v_left):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def _pooled(self, x: Tensor) -> Tensor:
        """The mean value under the channel branch's weights: (B, C, H, W) -> (B, C / 2, 1, 1).

        The projection is linear, so the mean is projected instead of every pixel.
        """
        weights = _softmax(self.conv_q_right(x).flatten(2))
        mean = torch.bmm(x.flatten(2), weights.transpose(1, 2).to(x.dtype))
        return self.conv_v_right(mean.unsqueeze(3))

    def _query(self, x: Tensor) -> Tensor:
        """The spatial branch's query: (B, C, H, W) -> (B, 1, C / 2)."""
        return self.conv_q_left(x.mean((2, 3), keepdim=True)).flatten(1).unsqueeze(1)

    def _published_flops(self, height: int, width: int) -> int:
        """Of both branches without ``conv_up``."""
        half = self.channels // 2
        return 2 * height * width * (3 * self.channels * half + self.channels + 2 * half)

    def extra_repr(self) -> str:
        return str(self.channels)


class PolarizedParallel(_Polarized):
    """``x * channel_mask(x) + x * spatial_mask(x)``: (B, C, H, W) -> (B, C, H, W). Any map size from 1 x 1.

    As the published code, which differs from the paper: no softmax over channels in the spatial branch, no layer norm
    in the channel branch. The softmax over pixels is computed in float32 or better.

    Raises:
        ValueError: in one line, if ``channels`` is odd.

    Source: Liu et al., Polarized Self-Attention: Towards High-quality Pixel-wise Regression, arXiv 2107.00782,
    section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv_up = nn.Conv2d(channels // 2, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        channel = torch.sigmoid(self.conv_up(self._pooled(x)))
        # query . (W x) = (W^T query) . x: one product per pixel instead of C / 2
        direction = self._query(x) @ self.conv_v_left.weight.flatten(1)
        scores = torch.bmm(direction, x.flatten(2).to(direction.dtype))
        spatial = torch.sigmoid(_softmax(scores)).to(x.dtype).unflatten(2, x.shape[2:])
        return x * (channel + spatial)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: the projections follow the pooling."""
        return 2 * self.channels * (3 * height * width + 4 * (self.channels // 2))

    def published_flops(self, height: int, width: int) -> int:
        """``flops`` of the published form, which projects every pixel."""
        return self._published_flops(height, width) + 2 * (self.channels // 2) * self.channels


class PolarizedSequential(_Polarized):
    """``y = x * channel_mask(x)``, then ``y * spatial_mask(y)``: (B, C, H, W) -> (B, C, H, W). Any map size from 1 x 1.

    As the published code. The softmax over pixels is computed in float32 or better.

    Raises:
        ValueError: in one line, if ``channels`` is odd or less than 8.

    Source: as :class:`PolarizedParallel`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        half = channels // 2
        if half < 4:
            raise ValueError(f"channels must be at least 8, got {channels}")
        self.conv_up = nn.Sequential(
            nn.Conv2d(half, half // 4, 1), nn.LayerNorm([half // 4, 1, 1]), nn.ReLU(), nn.Conv2d(half // 4, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.conv_up(self._pooled(x))).to(x.dtype)
        value = _softmax(self.conv_v_left(x).flatten(2))
        mask = torch.sigmoid(torch.bmm(self._query(x).to(value.dtype), value))
        return x * mask.to(x.dtype).unflatten(2, x.shape[2:])

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: two projections follow the pooling."""
        half, pixels = self.channels // 2, height * width
        macs = pixels * (2 * self.channels + self.channels * half + half) + 2 * half * self.channels
        return 2 * macs + self._up_flops()

    def published_flops(self, height: int, width: int) -> int:
        """``flops`` of the published form, which projects every pixel."""
        return self._published_flops(height, width) + self._up_flops()

    def _up_flops(self) -> int:
        half = self.channels // 2
        return 2 * (half + self.channels) * (half // 4)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis, in float32 or better: weights of thousands of pixels are too small for 16 bits."""
    return torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32))


PARALLEL = {"unit": PolarizedParallel, "residual": with_shortcut(PolarizedParallel)}
SEQUENTIAL = {"unit": PolarizedSequential, "residual": with_shortcut(PolarizedSequential)}
