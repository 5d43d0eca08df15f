"""A shortcut around a block."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """``x + attn(x)``, for a unit that scales its input down where training starts. (B, C, H, W) to the same."""

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of ``attn``, for one image of height x width."""
        return self.attn.flops(height, width)  # type: ignore[operator]
