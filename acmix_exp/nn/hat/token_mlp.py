"""The MLP of HAT's blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TokenMlp(nn.Module):
    """Linear to ``int(channels * ratio)``, GELU, linear back, at each position of (B, C, H, W). Keys fc1, fc2.

    Raises ValueError for a ratio that leaves no hidden channel.
    """

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = int(channels * ratio)
        if self.hidden < 1:
            raise ValueError(f"mlp_ratio must give {channels} channels at least one hidden channel, got {ratio}")
        self.fc1 = nn.Linear(channels, self.hidden)
        self.fc2 = nn.Linear(self.hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 4 * height * width * self.channels * self.hidden
