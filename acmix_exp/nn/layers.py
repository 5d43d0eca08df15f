"""Layers and functions shared by several blocks: shortcut, norms, axial positions, biased attention, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.ops.checks import is_tracing_or_exporting


class Residual(nn.Module):
    """``x + attn(x)``, for a unit that shrinks its input at initialisation: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of ``attn``, for one image of height x width."""
        return self.attn.flops(height, width)  # type: ignore[operator]

    def published_flops(self, height: int, width: int) -> int:
        return published_flops(self.attn, height, width)


def published_flops(block: nn.Module, height: int, width: int) -> int:
    """Operations of the published form of a block that has ``flops``: the same, unless it has ``published_flops``."""
    count: Callable[[int, int], int] = getattr(block, "published_flops", block.flops)  # type: ignore[arg-type]
    return count(height, width)


def with_shortcut(unit: Callable[..., nn.Module]) -> Callable[..., Residual]:
    """The factory of ``unit`` inside a :class:`Residual`."""
    return lambda channels, **options: Residual(unit(channels, **options))


def stochastic_depth(drop_path: float) -> nn.Module:
    """torchvision's layer that skips a branch for a share ``drop_path`` of the samples in training.

    Raises ValueError unless the share is from 0, below 1.
    """
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path must be from 0, below 1, got {drop_path}")
    from torchvision.ops import StochasticDepth  # takes a second, which the other blocks do without

    return StochasticDepth(drop_path, "row")


def hidden_channels(channels: int, mlp_ratio: float) -> int:
    """``int(channels * mlp_ratio)``. Raises ValueError if that leaves no channel."""
    hidden = int(channels * mlp_ratio)
    if hidden < 1:
        raise ValueError(f"mlp_ratio must give {channels} channels at least one hidden channel, got {mlp_ratio}")
    return hidden


class ChannelLayerNorm(nn.LayerNorm):
    """``nn.LayerNorm(C)`` at each position of (B, C, H, W); the result is in channels_last."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class BatchNorm(nn.BatchNorm2d):
    """torch's BatchNorm2d, except that in training a channel with a single value, which has no variance, is normalised
    by the running statistics.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvBN(nn.Module):
    """``bn(c(x))``: (B, in_channels, H, W) -> (B, out_channels, H, W), "same" zero padding, no bias.

    ``c`` and ``bn`` are the keys of SeaFormer's published weights. ``gamma`` is the initial weight of the norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, groups: int = 1, gamma: float = 1.0
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
        self.bn: BatchNorm | nn.Identity = BatchNorm(out_channels)
        nn.init.constant_(self.bn.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.c(x))

    def fuse(self) -> None:
        """Merge the norm into the convolution, in place, for inference."""
        if isinstance(self.bn, BatchNorm):
            self.c, self.bn = fuse_conv_bn(self.c, self.bn), nn.Identity()


class AxialPosition(nn.Module):
    """``x + embedding``: (B, C, n) -> (B, C, n), the ``length`` learned positions resampled to n.

    ``resampling`` is the matrix of :func:`linear_resampling`, which the embeddings of one axis share.
    """

    def __init__(self, channels: int, length: int = 16) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, channels, length))

    def forward(self, x: Tensor, resampling: Tensor) -> Tensor:
        return x + (self.pos_embed.to(resampling.dtype) @ resampling).to(x.dtype)


def linear_resampling(length: int, n: int, like: Tensor) -> Tensor:
    """The matrix (length, n) of linear interpolation with align_corners=False, on the device of ``like``.

    It is in float32 or better. A product with it equals ``F.interpolate``; its backward is deterministic on a GPU too.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    source = ((torch.arange(n, dtype=dtype, device=like.device) + 0.5) * length / n - 0.5).clamp(0, length - 1)
    knots = torch.arange(length, dtype=dtype, device=like.device)
    return (1 - (source - knots[:, None]).abs()).clamp(min=0)


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """``softmax(query key^T / sqrt(d) + bias) value``: (B, h, L, d).

    query: (B, h, L, d). key, value: (B, h, S, d). bias: (B, h, L, S) in the dtype of the query, whose first two sizes
    may be 1, or None.

    Runs scaled_dot_product_attention, except on a CPU with a bias that needs a gradient: there it has no fused kernel,
    and its unfused form also searches for fully masked rows, which a finite bias cannot have.
    """
    needs_gradient = bias is not None and torch.is_grad_enabled() and bias.requires_grad
    if bias is None or not needs_gradient or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, bias)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias
    return logits.softmax(-1).to(value.dtype) @ value


def extend(x: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column: (B, C, H, W) -> (B, C, height, width), with height >= H and width >= W.

    The gradient is deterministic on every device, unlike that of replication padding. In a recorded graph the sizes may
    be symbolic. The caller crops the result.
    """
    if is_tracing_or_exporting():
        rows = torch.arange(height, device=x.device).clamp(max=x.shape[2] - 1)
        columns = torch.arange(width, device=x.device).clamp(max=x.shape[3] - 1)
        return x.index_select(2, rows).index_select(3, columns)
    below, right = height - x.shape[2], width - x.shape[3]
    if right:
        x = torch.cat([x, x[..., -1:].expand(-1, -1, -1, right)], 3)
    if below:
        x = torch.cat([x, x[:, :, -1:].expand(-1, -1, below, -1)], 2)
    return x


def at_least(size: int | Tensor, least: int) -> Any:
    """The larger of both, without a Python branch on a symbolic size. The TorchScript tracer gives sizes as tensors."""
    return size.clamp(min=least) if isinstance(size, Tensor) else torch.sym_max(size, least)
