"""Mixed local channel attention: the means of a few areas, and of the whole map, gate each channel."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.ops.checks import check_odd, check_positive, is_tracing_or_exporting


class MLCA(nn.Module):
    """``x * unpool(l sigmoid(F_l(m)) + (1 - l) sigmoid(F_g(mean m)))``: (B, C, H, W) -> (B, C, H, W), any size.

    m are the means of local_size x local_size areas, as of adaptive average pooling; where the size does not divide,
    areas share a row or column. F_l and F_g are 1-D convolutions along the channels, without biases: F_l of each area,
    F_g of the mean over all areas. To unpool, a pixel takes the mean over the areas that it is in.

    Args:
        channels: C, any number.
        local_size: areas along each side.
        kernel_size: of the 1-D convolutions, odd; None: ``(log2(C) + 1) / 2``, up to the next odd number, as in ECA.
        local_weight: l, from 0, below 1.

    Source: Wan et al., Mixed Local Channel Attention for Object Detection, Engineering Applications of Artificial
    Intelligence 123, 2023. Kernel size: Wang et al., ECA-Net, CVPR 2020, equation 12.
    """

    def __init__(
        self, channels: int, local_size: int = 5, kernel_size: int | None = None, local_weight: float = 0.5
    ) -> None:
        super().__init__()
        check_positive(channels=channels, local_size=local_size)
        if kernel_size is None:
            kernel_size = _next_odd(int((math.log2(channels) + 1) / 2))
        check_odd(kernel_size=kernel_size)
        if not 0 <= local_weight < 1:
            raise ValueError(f"local_weight must be from 0, below 1, got {local_weight}")
        self.channels = channels
        self.local_size = local_size
        self.local_weight = local_weight
        self.of_areas = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.of_map = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        is_eager = not is_tracing_or_exporting() and not torch.compiler.is_compiling()
        matrices = _kept_areas if is_eager else _areas  # symbolic sizes are no keys
        side = self.local_size
        down_rows, up_rows = matrices(x.shape[2], side, x.dtype, x.device)
        down_columns, up_columns = matrices(x.shape[3], side, x.dtype, x.device)
        if is_eager and not torch.is_grad_enabled():  # faster; its gradient is not deterministic on a GPU
            means = F.adaptive_avg_pool2d(x, side)
        else:
            means = (down_rows @ x) @ down_columns.T  # (B, C, s, s)
        areas = means.flatten(2).transpose(1, 2)  # (B, s^2, C)
        local = self.of_areas(areas.reshape(-1, 1, self.channels)).view(areas.shape).sigmoid()
        whole = self.of_map(areas.mean(1, keepdim=True)).sigmoid()
        gate = local * self.local_weight + whole * (1 - self.local_weight)
        gate = gate.transpose(1, 2).reshape(means.shape).to(x.dtype)
        if is_eager and x.shape[2] % side == 0 and x.shape[3] % side == 0:  # each pixel is in one area
            gated = x.unflatten(2, (side, -1)).unflatten(4, (side, -1)) * gate[:, :, :, None, :, None]
            return gated.flatten(4, 5).flatten(2, 3)
        return x * (up_rows @ (gate @ up_columns.T))

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width, with the products that unpool."""
        side = self.local_size
        unpooled = 0 if height % side == width % side == 0 else side * width * (height + side)
        return 2 * self.channels * unpooled + self.published_flops(height, width)

    def published_flops(self, height: int, width: int) -> int:
        """Of the 1-D convolutions alone."""
        return 2 * self.channels * self.of_areas.weight.numel() * (self.local_size**2 + 1)

    def extra_repr(self) -> str:
        return f"{self.channels}, local_size={self.local_size}, local_weight={self.local_weight}"


def _next_odd(number: int) -> int:
    return number + 1 - number % 2


def _areas(length: int, areas: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The matrices (areas, length) that takes the mean of each area and (length, areas) of those that a pixel is in.

    Area j is from floor(j length / areas) to ceil((j + 1) length / areas). Products with them, unlike adaptive pooling,
    are deterministic on a GPU, and take symbolic lengths.
    """
    pixel, area = torch.arange(length, device=device), torch.arange(areas, device=device)
    ahead = area[:, None] * length - pixel * areas  # from a pixel to the start of an area, in parts of a pixel
    member = ((ahead < areas) & (ahead > -length)).to(torch.promote_types(dtype, torch.float32))
    return (member / member.sum(1, keepdim=True)).to(dtype), (member / member.sum(0)).T.to(dtype)


@lru_cache(maxsize=64)
def _kept_areas(length: int, areas: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # so that a training may use them too
        return _areas(length, areas, dtype, device)
