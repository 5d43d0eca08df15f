"""CARAFE: upsampling by weighted means of windows, with weights that are predicted from the map."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.ops.checks import check_odd, check_positive

SCALE = 2


class Carafe(nn.Module):
    """Each pixel of the result is a weighted mean of the window around its source: (B, C, H, W) -> (B, C, 2H, 2W).

    ``w = softmax(pixel_shuffle(encoder(compressor(x))))`` has kernel_up^2 weights for each pixel of the result, and
    ``y(p) = sum_n w_n(p) x(floor(p / 2) + n)`` over the window of kernel_up x kernel_up, with zeros outside.

    Args:
        channels: C.
        kernel_up: side of the window, odd.
        kernel_encoder: side of the encoder's convolution, odd.
        compressed: channels of the compressor, a 1x1 convolution.

    Source: Wang et al., CARAFE: Content-Aware ReAssembly of FEatures, ICCV 2019, equations 1 to 3. Both convolutions
    have biases.
    """

    def __init__(self, channels: int, kernel_up: int = 5, kernel_encoder: int = 3, compressed: int = 64) -> None:
        super().__init__()
        check_positive(channels=channels, compressed=compressed)
        check_odd(kernel_up=kernel_up, kernel_encoder=kernel_encoder)
        self.channels = channels
        self.kernel_up = kernel_up
        self.compressor = nn.Conv2d(channels, compressed, 1)
        weights = (SCALE * kernel_up) ** 2
        self.encoder = nn.Conv2d(compressed, weights, kernel_encoder, padding=kernel_encoder // 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        taps, phases = self.kernel_up**2, SCALE**2
        # Channel t 4 + i 2 + j holds the logit of tap t at the pixel (2 p + i, 2 q + j), as a pixel shuffle puts it.
        logits = self.encoder(self.compressor(x)).view(batch, taps, phases, height * width)
        weights = logits.softmax(1).to(x.dtype)
        windows = F.unfold(x, self.kernel_up, padding=self.kernel_up // 2)
        windows = windows.view(batch, self.channels, taps, height * width)
        # Per source pixel (C, taps) times (taps, 4).
        pixels = windows.permute(0, 3, 1, 2) @ weights.permute(0, 3, 1, 2)
        pixels = pixels.permute(0, 2, 3, 1).reshape(batch, self.channels * phases, height, width)
        return F.pixel_shuffle(pixels, SCALE)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image whose input map is height x width."""
        each = self.compressor.weight.numel() + self.encoder.weight.numel()
        return 2 * height * width * (each + self.channels * (SCALE * self.kernel_up) ** 2)
