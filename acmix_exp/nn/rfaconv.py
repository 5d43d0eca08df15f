"""Receptive-field attention convolution: a k x k convolution whose input is weighted tap by tap, at every pixel."""

from __future__ import annotations

from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn
from acmix_exp.nn.layers import BatchNorm
from acmix_exp.ops.checks import check_odd, check_positive


class RFAConv(nn.Module):
    """``conv(softmax(G(avg(x))) * relu(BN(F(x))))``: (B, C, H, W) -> (B, C, H, W), any size from 1 x 1.

    F gives each channel k^2 maps, one for each tap of a k x k window, by k x k convolutions of that channel alone. G
    does the same by 1x1 convolutions of the map's k x k mean, with zeros outside. The softmax is over the k^2 taps. The
    paper spreads the taps over a map of k H x k W and convolves it with kernel and stride k. That is a 1x1 convolution
    of the C k^2 maps, which is what ``conv`` is. No convolution has a bias.

    Args:
        channels: C.
        kernel_size: k, odd.

    Source: Zhang et al., RFAConv: Innovating Spatial Attention and Standard Convolutional Operation, arXiv 2304.03198.
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        check_positive(channels=channels)
        check_odd(kernel_size=kernel_size)
        padding, taps = kernel_size // 2, kernel_size**2
        self.average = nn.AvgPool2d(kernel_size, stride=1, padding=padding)
        self.weigh = nn.Conv2d(channels, channels * taps, 1, groups=channels, bias=False)
        self.spread = nn.Conv2d(channels, channels * taps, kernel_size, padding=padding, groups=channels, bias=False)
        self.norm: nn.Module = BatchNorm(channels * taps)
        self.conv = nn.Conv2d(channels * taps, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        # (B, C, 1, H, W) times (C, k^2, 1, 1): a convolution of one channel to k^2 by 1x1 kernels.
        logits = self.average(x).unsqueeze(2) * self.weigh.weight.view(channels, -1, 1, 1)
        features = self.norm(self.spread(x)).relu().view(logits.shape)
        weighted: Tensor = self.conv((logits.softmax(2) * features).flatten(1, 2))
        return weighted

    def fuse(self, norm: nn.BatchNorm2d | None = None) -> RFAConv:
        """For inference, in place: merge the norm inside, and take the one that follows into the last convolution."""
        if isinstance(self.norm, BatchNorm):
            self.spread, self.norm = fuse_conv_bn(self.spread, self.norm), nn.Identity()
        if norm is not None:
            self.conv = fuse_conv_bn(self.conv, norm)
        return self

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) of F and the last convolution for one image of height x width."""
        return 2 * (self.spread.weight.numel() + self.conv.weight.numel()) * height * width

    def published_flops(self, height: int, width: int) -> int:
        """With G, which is a convolution in the published form and a product here."""
        return self.flops(height, width) + 2 * self.weigh.weight.numel() * height * width
