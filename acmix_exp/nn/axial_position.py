"""Learned position embeddings along one axis, at any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AxialPosition(nn.Module):
    """``x + embedding``: (B, C, n) -> (B, C, n), the ``length`` learned positions resampled to n.

    ``resampling`` is that of :func:`linear_resampling`, which embeddings of one axis share.
    """

    def __init__(self, channels: int, length: int = 16) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, channels, length))

    def forward(self, x: Tensor, resampling: Tensor) -> Tensor:
        return x + (self.pos_embed.to(resampling.dtype) @ resampling).to(x.dtype)


def linear_resampling(length: int, n: int, like: Tensor) -> Tensor:
    """The matrix (length, n) of linear interpolation with align_corners=False, in float32 at least, where ``like`` is.

    A product with it is ``F.interpolate``, but its backward is deterministic on a GPU too.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    source = ((torch.arange(n, dtype=dtype, device=like.device) + 0.5) * length / n - 0.5).clamp(0, length - 1)
    knots = torch.arange(length, dtype=dtype, device=like.device)
    return (1 - (source - knots[:, None]).abs()).clamp(min=0)
