"""Polarized self-attention, parallel and sequential. Not ultralytics' PSA, which is another module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.nn.layers import Residual
from acmix_exp.ops.checks import check_positive

FORMS = ("unit", "residual")


class _Polarized(nn.Module):
    """The projections that both layouts share. Parameter names are the published ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_positive("channels", channels)
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
        """The values averaged with the weights of the channel branch: (B, C, H, W) -> (B, C / 2, 1, 1).

        The projection is linear, so it is the mean that is projected and not every pixel.
        """
        weights = _softmax(self.conv_q_right(x).flatten(2))
        mean = torch.bmm(x.flatten(2), weights.transpose(1, 2).to(x.dtype))
        return self.conv_v_right(mean.unsqueeze(3))

    def _query(self, x: Tensor) -> Tensor:
        """The spatial branch's query: (B, C, H, W) -> (B, 1, C / 2)."""
        return self.conv_q_left(x.mean((2, 3), keepdim=True)).flatten(1).unsqueeze(1)

    def extra_repr(self) -> str:
        return str(self.channels)


class PolarizedParallel(_Polarized):
    """``x * channel_mask + x * spatial_mask``, both masks of x: (B, C, H, W) -> the same. Any map size from 1 x 1.

    The published code, which differs from the paper: no softmax over channels in the spatial branch, no layer norm in
    the channel branch. Softmax over the pixels is taken in float32 at least.

    Raises:
        ValueError: one line, where ``channels`` is odd.

    Source: Liu et al., Polarized Self-Attention: Towards High-quality Pixel-wise Regression, arXiv 2107.00782,
    section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv_up = nn.Conv2d(channels // 2, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        channel = torch.sigmoid(self.conv_up(self._pooled(x)))
        # query . (W x) = (W^T query) . x: one product for each pixel instead of C / 2
        direction = self._query(x) @ self.conv_v_left.weight.flatten(1)
        scores = torch.bmm(direction, x.flatten(2).to(direction.dtype))
        spatial = torch.sigmoid(_softmax(scores)).to(x.dtype).unflatten(2, x.shape[2:])
        return x * (channel + spatial)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of the published form for one image of height x width.

        Fewer are run: what is linear is applied after pooling.
        """
        half = self.channels // 2
        pixels = height * width
        return 2 * (pixels * (3 * self.channels * half + self.channels + 2 * half) + half * self.channels)


class PolarizedSequential(_Polarized):
    """``y = x * channel_mask(x)``, then ``y * spatial_mask(y)``: (B, C, H, W) -> the same. Any map size from 1 x 1.

    As published in code. Softmax over the pixels is taken in float32 at least.

    Raises:
        ValueError: one line, where ``channels`` is odd or less than 8.

    Source: as :class:`PolarizedParallel`'s.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        half = channels // 2
        if half < 4:
            raise ValueError(f"channels must be at least 8, got {channels}")
        self.conv_up = nn.Sequential(
            nn.Conv2d(half, half // 4, 1),
            nn.LayerNorm([half // 4, 1, 1]),
            nn.ReLU(),
            nn.Conv2d(half // 4, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.conv_up(self._pooled(x))).to(x.dtype)
        value = _softmax(self.conv_v_left(x).flatten(2))
        mask = torch.sigmoid(torch.bmm(self._query(x).to(value.dtype), value))
        return x * mask.to(x.dtype).unflatten(2, x.shape[2:])

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of the published form for one image of height x width; fewer are run."""
        half = self.channels // 2
        pixels = height * width
        up = (half + self.channels) * (half // 4)
        return 2 * (pixels * (3 * self.channels * half + self.channels + 2 * half) + up)


def polarized_parallel(channels: int, form: str = "unit") -> nn.Module:
    """:class:`PolarizedParallel` bare (form unit: it starts close to the identity) or with a shortcut (residual)."""
    return _in_form(PolarizedParallel(channels), form)


def polarized_sequential(channels: int, form: str = "residual") -> nn.Module:
    """:class:`PolarizedSequential` bare (form unit) or with a shortcut (residual)."""
    return _in_form(PolarizedSequential(channels), form)


def _in_form(unit: nn.Module, form: str) -> nn.Module:
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    return unit if form == "unit" else Residual(unit)


def _softmax(scores: Tensor) -> Tensor:
    """Over the last axis: the weights of thousands of pixels are too small for half precision."""
    return torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32))
