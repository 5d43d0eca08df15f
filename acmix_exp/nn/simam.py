"""SimAM: a gate without parameters, from how much each pixel differs from its channel's mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.nn.layers import at_least
from acmix_exp.ops.checks import is_tracing_or_exporting


class SimAM(nn.Module):
    """``x * sigmoid(d / (4 (v + e)) + 1/2)`` with d = (x - mean)^2 of each channel, and v = sum d / (H W - 1).

    (B, C, H, W) -> (B, C, H, W), any size; of a single pixel d is 0 and the gate sigmoid(1/2). It has no parameters.
    Means and variances are computed in float32 or better.

    Args:
        channels: C, any number.
        e_lambda: e above, the paper's lambda.

    Raises:
        ValueError: unless ``e_lambda`` is above 0.

    Source: Yang et al., SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural Networks, ICML 2021,
    equations 5 to 7, whose inverse energy of a pixel is d / (4 (v + e)) + 1/2.
    """

    def __init__(self, channels: int, e_lambda: float = 1e-4) -> None:
        super().__init__()
        if not 0 < e_lambda < float("inf"):
            raise ValueError(f"e_lambda must be a number above 0, got {e_lambda}")
        self.e_lambda = e_lambda

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        deviation = wide - wide.mean((2, 3), keepdim=True)
        in_place = not (torch.is_grad_enabled() or is_tracing_or_exporting())
        squares = deviation.square_() if in_place else deviation.square()
        others = at_least(height * width - 1, 1)  # a single pixel has none, and the sum is 0 then
        scale = (4 * (squares.sum((2, 3), keepdim=True) / others + self.e_lambda)).reciprocal()
        if in_place:  # a third less time: no map but the result is written
            return squares.mul_(scale).add_(0.5).sigmoid_().to(x.dtype).mul_(x)
        return x * (squares * scale + 0.5).sigmoid().to(x.dtype)

    def flops(self, height: int, width: int) -> int:
        """Operations in convolutions and matrix products: none."""
        return 0

    def extra_repr(self) -> str:
        return f"e_lambda={self.e_lambda}"
