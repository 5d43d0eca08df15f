"""SPD-Conv: pixels are moved into channels, and a convolution without stride follows."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.ops.checks import check_odd, check_positive, is_tracing_or_exporting


class SPDConv(nn.Module):
    """``conv([x_00, x_10, x_01, x_11])``: (B, C_in, H, W) -> (B, C_out, ceil(H/2), ceil(W/2)).

    x_ij has the pixels of row 2 p + i and column 2 q + j: nothing is dropped. A map of odd size is extended by zeros;
    in a recorded graph it must be even, as the maps of a detector are. The convolution has no bias, for a norm follows.

    It computes what a convolution of twice the kernel (6x6) and stride 2 can compute, with as many weights.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: of the convolution, odd.

    Source: Sunkara and Luo, No More Strided Convolutions or Pooling, ECML PKDD 2022, section 3.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, out_channels=out_channels)
        check_odd(kernel_size=kernel_size)
        self.conv = nn.Conv2d(4 * in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not is_tracing_or_exporting() and (x.shape[2] % 2 or x.shape[3] % 2):
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        even, odd = x[:, :, ::2], x[:, :, 1::2]
        return self.conv(torch.cat([even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]], 1))

    def start_as(self, weight: Tensor) -> bool:
        """Compute what a 3x3 convolution of stride 2 and padding 1 with this ``weight`` (C_out, C_in, 3, 3) computes.

        Returns whether it can: with a kernel of 3 or more, and these channels. The weights that the convolution lacks
        are zero, and learn as the others.
        """
        size = self.conv.kernel_size[0]
        if size < 3 or weight.shape != (self.conv.out_channels, self.conv.in_channels // 4, 3, 3):
            return False
        with torch.no_grad():
            self.conv.weight.zero_()
            by_pixel = self.conv.weight.view(len(weight), 2, 2, -1, size, size)  # x_ij at [:, j, i]
            for row, column in product(range(3), repeat=2):
                (down, i), (right, j) = divmod(row - 1, 2), divmod(column - 1, 2)
                by_pixel[:, j, i, :, size // 2 + down, size // 2 + right] = weight[:, :, row, column]
        return True

    def fuse(self, norm: nn.BatchNorm2d | None = None) -> SPDConv:
        """For inference, in place: take the norm that follows into the convolution."""
        if norm is not None:
            self.conv = fuse_conv_bn(self.conv, norm)
        return self

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image whose input map is height x width."""
        pixels = -(-height // 2) * -(-width // 2)
        return 2 * self.conv.weight.numel() * pixels
