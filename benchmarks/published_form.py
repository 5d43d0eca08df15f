"""ACmix as published: the window of keys, values and positions unfolded, the convolution in two steps.

The form that this package is compared with: the published formulas literally, with ``ReflectionPad2d`` and ``Unfold``,
which take time and memory. Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022,
section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def published_window_attention(
    query: Tensor, key: Tensor, value: Tensor, embedding: Tensor, *, kernel_size: int, heads: int, stride: int = 1
) -> Tensor:
    """Reflected window attention by unfolding: (B, C, H, W) each -> (B, C, H / stride, W / stride).

    embedding: (1, C / heads, H, W), of every pixel, the same for all samples and heads. ``kernel_size`` odd,
    ``stride`` divides H and W, and both exceed ``kernel_size // 2``.
    """
    batch, channels = query.shape[:2]
    width = channels // heads
    query, key, value = (image.reshape(batch * heads, width, *image.shape[2:]) for image in (query, key, value))
    query = query[..., ::stride, ::stride] * width**-0.5
    centre = embedding[..., ::stride, ::stride].unsqueeze(2)
    keys, values, embeddings = (_unfold(image, kernel_size, stride) for image in (key, value, embedding))
    logits = (query.unsqueeze(2) * (keys + centre - embeddings)).sum(dim=1)
    weights = logits.softmax(dim=1)
    out = (weights.unsqueeze(1) * values).sum(dim=2)
    return out.reshape(batch, channels, *out.shape[-2:])


def _unfold(image: Tensor, kernel: int, stride: int) -> Tensor:
    """(N, d, H, W) -> (N, d, kernel^2, H / stride, W / stride): the window of every site, mirrored at the border."""
    height, width = (size // stride for size in image.shape[-2:])
    padded = nn.ReflectionPad2d(kernel // 2)(image)
    columns = nn.Unfold(kernel, stride=stride)(padded)
    return columns.view(*image.shape[:2], kernel**2, height, width)


def coordinates(size: Sequence[int], like: Tensor) -> Tensor:
    """(H, W) -> (1, 2, H, W): column and row of every pixel, -1 .. 1, with dtype and device of ``like``."""
    height, width = size
    x = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device).expand(height, width)
    y = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device).unsqueeze(1).expand(height, width)
    return torch.stack([x, y]).unsqueeze(0)


class PublishedACmix(nn.Module):
    """``rate1 * attention + rate2 * convolution``, with the parameters of ``acmix_exp.nn.ACmix``.

    (B, in_planes, H, W) -> (B, out_planes, H / stride, W / stride).
    """

    def __init__(
        self, in_planes: int, out_planes: int, kernel_att: int = 7, head: int = 4, kernel_conv: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        self.kernel_att = kernel_att
        self.head = head
        self.stride = stride
        head_dim = out_planes // head
        taps = kernel_conv**2
        self.rate1 = nn.Parameter(torch.full((1,), 0.5))
        self.rate2 = nn.Parameter(torch.full((1,), 0.5))
        self.conv1 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv2 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv3 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv_p = nn.Conv2d(2, head_dim, 1)
        self.fc = nn.Conv2d(3 * head, taps, 1, bias=False)
        self.dep_conv = nn.Conv2d(
            taps * head_dim, out_planes, kernel_conv, stride, kernel_conv // 2, groups=head_dim, bias=False
        )
        with torch.no_grad():
            self.dep_conv.weight.copy_(torch.eye(taps).view(taps, kernel_conv, kernel_conv))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.conv1(x), self.conv2(x), self.conv3(x)
        return self.rate1 * self._attention(query, key, value) + self.rate2 * self._convolution(query, key, value)

    def _attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        embedding = self.conv_p(coordinates(query.shape[-2:], self.conv_p.weight))
        return published_window_attention(
            query, key, value, embedding, kernel_size=self.kernel_att, heads=self.head, stride=self.stride
        )

    def _convolution(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, channels, height, width = query.shape
        head_dim = channels // self.head
        heads = [image.reshape(batch, self.head, head_dim, height * width) for image in (query, key, value)]
        features = self.fc(torch.cat(heads, dim=1))
        features = features.permute(0, 2, 1, 3).reshape(batch, -1, height, width)
        out: Tensor = self.dep_conv(features)
        return out


def published_operator(
    query: Tensor, key: Tensor, value: Tensor, position_weight: Tensor, *, kernel_size: int, heads: int
) -> Tensor:
    """``reflected_window_attention`` in the published form; position_weight: (C / heads, 2, 1, 1)."""
    embedding = F.conv2d(coordinates(query.shape[-2:], position_weight), position_weight)
    return published_window_attention(query, key, value, embedding, kernel_size=kernel_size, heads=heads)
