"""Global attention mechanism: a gate by an MLP over the channels of each pixel, then one by two large convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.nn.layers import BatchNorm
from acmix_exp.ops.checks import check_odd, check_positive


class GlobalAttention(nn.Module):
    """``x2 * sigmoid(S(x2))`` with ``x2 = x * sigmoid(M(x))``: (B, C, H, W) -> (B, C, H, W), any size.

    M is an MLP over the channels of each pixel with C / reduction hidden channels and ReLU, as 1x1 convolutions.
    S is a convolution to C / reduction channels, BN, ReLU, and one back, BN. All have biases.

    Args:
        channels: C.
        reduction: divides C into the hidden channels, rounded down, at least 1.
        kernel_size: of both convolutions of S, odd.

    Source: Liu, Shao and Hoffmann, Global Attention Mechanism, arXiv 2112.05561, equations 1 and 2, figures 1 to 3.
    """

    def __init__(self, channels: int, reduction: int = 4, kernel_size: int = 7) -> None:
        super().__init__()
        check_positive(channels=channels, reduction=reduction)
        check_odd(kernel_size=kernel_size)
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
        self.narrow = nn.Conv2d(channels, hidden, kernel_size, padding=kernel_size // 2)
        self.norm1: nn.Module = BatchNorm(hidden)
        self.widen = nn.Conv2d(hidden, channels, kernel_size, padding=kernel_size // 2)
        self.norm2: nn.Module = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.mlp(x).sigmoid()
        return x * self.norm2(self.widen(self.norm1(self.narrow(x)).relu())).sigmoid()

    def fuse(self) -> None:
        """Merge the norms into the convolutions, in place, for inference."""
        if isinstance(self.norm1, BatchNorm):
            self.narrow, self.norm1 = fuse_conv_bn(self.narrow, self.norm1), nn.Identity()
            self.widen, self.norm2 = fuse_conv_bn(self.widen, self.norm2), nn.Identity()

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width."""
        weights = 2 * (self.narrow.in_channels * self.narrow.out_channels) + 2 * self.narrow.weight.numel()
        return 2 * weights * height * width
