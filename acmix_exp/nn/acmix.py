"""ACmix: windowed attention and convolution that share their queries, keys and values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.block_rules import BACKENDS, PATHS
from acmix_exp.nn.acmix_weights import FusedWeights, compose
from acmix_exp.nn.complexity import Stage, acmix_stages
from acmix_exp.ops.checks import check_choice, check_odd, check_positive
from acmix_exp.ops.shift_convolution import grouped_convolution
from acmix_exp.ops.window_attention.packed import packed_window_attention


class ACmix(nn.Module):
    """Windowed self-attention and convolution that share their three 1x1 projections.

    ``rate1 * attention + rate2 * convolution``: (B, in_planes, H, W) -> (B, out_planes, ceil(H / stride),
    ceil(W / stride)), in the dtype of the projections, and in channels_last if the input is. Any map size from 1 x 1,
    any floating dtype, any device.

    With path "mixed" the parameters have the names and shapes of the published module, so its weights load strictly.
    With path "attention" or "conv" the block holds only the parameters of that branch, including its rate, so a single
    branch starts at the scale that it has in the mixture.

    Args:
        in_planes, out_planes: channels of the input and of the output.
        kernel_att: side of the attention window in pixels, odd. The window is reflected at the border.
        head: number of attention heads; divides out_planes.
        kernel_conv: side of the convolution kernel in pixels, odd; zero padding of kernel_conv // 2.
        stride: distance of the output sites in pixels, in both branches.
        dilation: distance of the taps of the attention window in pixels. The convolution is not dilated, as published.
        path: "mixed", or one branch alone: "attention" or "conv".
        backend: that of ``reflected_window_attention``.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022, section 4.
    """

    def __init__(
        self,
        in_planes: int,
        out_planes: int,
        kernel_att: int = 7,
        head: int = 4,
        kernel_conv: int = 3,
        stride: int = 1,
        dilation: int = 1,
        path: str = "mixed",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_positive(in_planes=in_planes, out_planes=out_planes, head=head, stride=stride, dilation=dilation)
        check_odd(kernel_att=kernel_att, kernel_conv=kernel_conv)
        if out_planes % head:
            raise ValueError(f"head must divide out_planes {out_planes}, got {head}")
        check_choice("path", path, PATHS)
        check_choice("backend", backend, BACKENDS)
        self.in_planes, self.out_planes = in_planes, out_planes
        self.kernel_att, self.kernel_conv = kernel_att, kernel_conv
        self.head, self.head_dim = head, out_planes // head
        self.stride, self.dilation = stride, dilation
        self.path, self.backend = path, backend
        if self.has_attention:
            self.rate1 = nn.Parameter(torch.empty(1))
        if self.has_conv:
            self.rate2 = nn.Parameter(torch.empty(1))
        self.conv1 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv2 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv3 = nn.Conv2d(in_planes, out_planes, 1)
        if self.has_attention:
            self.conv_p = nn.Conv2d(2, self.head_dim, 1)
        if self.has_conv:
            taps, padding = kernel_conv**2, kernel_conv // 2
            self.fc = nn.Conv2d(3 * head, taps, 1, bias=False)
            self.dep_conv = nn.Conv2d(
                taps * self.head_dim, out_planes, kernel_conv, stride, padding, groups=self.head_dim, bias=False
            )
        self.reset_parameters()

    @property
    def has_attention(self) -> bool:
        return self.path != "conv"

    @property
    def has_conv(self) -> bool:
        return self.path != "attention"

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the rates to 0.5 and ``dep_conv`` to a sum of shifted maps; the rest keeps torch's initial values."""
        if self.has_attention:
            self.rate1.fill_(0.5)
        if self.has_conv:
            self.rate2.fill_(0.5)
            taps = self.kernel_conv**2
            self.dep_conv.weight.copy_(torch.eye(taps).view(taps, self.kernel_conv, self.kernel_conv))

    @property
    def is_fused(self) -> bool:
        return hasattr(self, "fused")

    def fuse(self, norm: nn.BatchNorm2d | None = None) -> ACmix:
        """Store composed weights instead of the parameters, in place, for inference. Returns the block.

        The three projections become one, ``fc`` and ``dep_conv`` one grouped convolution; the rates and a ``norm``
        that follows the block become part of these. The output is that of the block followed by ``norm`` in eval mode.
        On a fused block, only ``norm`` is merged.
        """
        if not self.is_fused:
            fused = FusedWeights(self, norm)
            self._parameters.clear()
            self._modules.clear()
            self.fused = fused
        elif norm is not None:
            self.fused.absorb(norm)
        return self

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fused if self.is_fused else compose(self)
        heads = self._project(x, weights.projection, weights.projection_bias)
        out = None
        if weights.conv is not None:
            out = grouped_convolution(heads.flatten(1, 2), weights.conv, self.stride, weights.conv_bias)
        if self.has_attention:
            attention = self._attend(heads, weights.position)
            if weights.rate is None:
                out = attention
            else:
                rate = weights.rate.to(attention.dtype).view(1, -1, 1, 1)
                out = attention * rate if out is None else torch.addcmul(out, attention, rate)
        assert out is not None
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            out = out.contiguous(memory_format=torch.channels_last)
        return out

    def _project(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Queries, keys and values by one product: (B, 3, head, d, H, W), in memory as (B, d, 3, head, H, W).

        In this layout the convolution branch reads contiguous groups, and attention reads strided heads.
        """
        if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
            # Faster than the equal convolution, which converts to a blocked memory format and back.
            pixels = x.flatten(2)
            out = torch.baddbmm(bias[:, None], weight.expand(x.shape[0], -1, -1), pixels)
        else:
            out = F.conv2d(x, weight[:, :, None, None], bias)
        # Not unflatten: its ONNX export would fix the size that was traced.
        out = out.reshape(x.shape[0], self.head_dim, 3, self.head, *x.shape[2:])
        return out.permute(0, 2, 3, 1, 4, 5)

    def _attend(self, heads: Tensor, position: Tensor | None) -> Tensor:
        return packed_window_attention(
            heads,
            position,
            kernel_size=self.kernel_att,
            heads=self.head,
            stride=self.stride,
            dilation=self.dilation,
            backend=self.backend,
        ).flatten(1, 2)

    def stages(self, height: int, width: int, itemsize: int = 4) -> dict[str, Stage]:
        """Cost per stage as this path runs; see :func:`acmix_exp.nn.complexity.acmix_stages`."""
        return acmix_stages(self, height, width, itemsize)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) that run for one image of height x width, fused or not."""
        return sum(stage.flops for stage in self.stages(height, width).values())

    def published_flops(self, height: int, width: int) -> int:
        """``flops`` of the published form of this path: ``fc``, then ``dep_conv``."""
        return sum(stage.flops for stage in acmix_stages(self, height, width, published=True).values())

    def extra_repr(self) -> str:
        return (
            f"{self.in_planes}, {self.out_planes}, kernel_att={self.kernel_att}, head={self.head}, "
            f"kernel_conv={self.kernel_conv}, stride={self.stride}, dilation={self.dilation}, "
            f"path={self.path}, backend={self.backend}"
        )


def acmix(channels: int, **options: Any) -> ACmix:
    """:class:`ACmix` with ``channels`` in and out."""
    return ACmix(channels, channels, **options)
