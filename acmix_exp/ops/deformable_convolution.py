"""Depthwise deformable convolution: each tap of the kernel reads the map at its position plus a predicted offset.

Source: Dai et al., Deformable Convolutional Networks, ICCV 2017, section 2.1; depthwise as in Azad et al., Beyond
Self-Attention: Deformable Large Kernel Attention, WACV 2024, section 3.1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from acmix_exp.ops.checks import is_tracing_or_exporting


def deformable_depthwise(x: Tensor, offset: Tensor, weight: Tensor, padding: int, dilation: int = 1) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W), stride 1, in the dtype of x.

    offset: (B, 2 k^2, H, W) in pixels, dy of tap t = i k + j in channel 2t, dx in 2t + 1. weight: (C, 1, k, k).
    padding = dilation (k - 1) / 2 keeps the size. Values between pixels are interpolated bilinearly; outside the map
    they are zero. float16 and bfloat16 are computed in float32, because positions near pixel 80 have a resolution of
    only 1/16 pixel in float16.

    CUDA uses torchvision's operator. Other devices and recorded graphs use ``deformable_depthwise_sampled``,
    which is several times faster on a CPU (forward and backward) and needs no operator outside torch.
    """
    with torch.autocast(x.device.type, enabled=False):
        dtype = x.dtype if x.dtype == torch.float64 else torch.float32
        operands = (x.to(dtype), offset.to(dtype), weight.to(dtype))
        if is_tracing_or_exporting():
            out = deformable_depthwise_sampled(*operands, padding, dilation, rows=weight.shape[-1])
        elif x.is_cuda:
            out = deformable_depthwise_reference(*operands, padding, dilation)
        else:
            out = deformable_depthwise_sampled(*operands, padding, dilation)
        return out.to(x.dtype)


def deformable_depthwise_sampled(
    x: Tensor, offset: Tensor, weight: Tensor, padding: int, dilation: int = 1, rows: int = 1
) -> Tensor:
    """``deformable_depthwise`` by bilinear sampling, ``rows`` kernel rows at a time: rows * k maps in memory."""
    batch, channels, height, width = x.shape
    k = weight.shape[-1]
    taps = (torch.arange(k, device=x.device) * dilation - padding).to(x.dtype)
    # Tap centres along a kernel row, (k, 1, W), and along a kernel column, (k, 1, H, 1).
    columns = taps[:, None, None] + torch.arange(width, device=x.device).to(x.dtype)
    lines = taps[:, None, None, None] + torch.arange(height, device=x.device).to(x.dtype)[:, None]
    offsets = offset.view(batch, k, k, 2, height, width)
    out = None
    for i in range(0, k, rows):
        part = slice(i, i + rows)
        # With align_corners=False grid_sample puts pixel i at (2 i + 1) / n - 1, also for n = 1.
        across = (2 * (offsets[:, part, :, 1] + columns) + 1) / width - 1
        down = (2 * (offsets[:, part, :, 0] + lines[part]) + 1) / height - 1
        kernel = weight[:, :, part].flatten(2)
        grid = torch.stack([across, down], -1).view(batch, kernel.shape[2] * height, width, 2)
        samples = F.grid_sample(x, grid, align_corners=False)
        summand = kernel @ samples.view(batch, channels, kernel.shape[2], height * width)
        out = summand if out is None else out + summand
    assert out is not None
    return out.view(batch, channels, height, width)


def deformable_depthwise_reference(
    x: Tensor, offset: Tensor, weight: Tensor, padding: int, dilation: int = 1
) -> Tensor:
    """torchvision's operator: the specification of ``deformable_depthwise_sampled``."""
    return deform_conv2d(x, offset, weight, padding=padding, dilation=dilation)
