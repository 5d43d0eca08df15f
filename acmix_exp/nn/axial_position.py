"""A learned position embedding along one axis, at any length."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AxialPosition(nn.Module):
    """``x + embedding``: (B, C, n) -> (B, C, n), the ``length`` learned positions resampled to n.

    Linear interpolation, align_corners=False, as a product with a small matrix: its backward is deterministic on a
    GPU, which that of ``F.interpolate`` is not.
    """

    def __init__(self, channels: int, length: int = 16) -> None:
        super().__init__()
        self.length = length
        self.pos_embed = nn.Parameter(torch.randn(1, channels, length))

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[2]
        dtype = torch.promote_types(self.pos_embed.dtype, torch.float32)
        at = torch.arange(n, dtype=dtype, device=x.device)
        source = ((at + 0.5) * self.length / n - 0.5).clamp(0, self.length - 1)
        knots = torch.arange(self.length, dtype=dtype, device=x.device)
        weights = (1 - (source - knots[:, None]).abs()).clamp(min=0)
        return x + (self.pos_embed.to(dtype) @ weights).to(x.dtype)
