"""Squeeze-enhanced axial attention (SEA): attention along both axes gates a local convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.nn.layers import (
    AxialPosition,
    ConvBN,
    hidden_channels,
    linear_resampling,
    stochastic_depth,
    with_shortcut,
)
from acmix_exp.ops.checks import check_choice, check_positive

ACTIVATIONS = {"ReLU6": nn.ReLU6, "ReLU": nn.ReLU, "GELU": nn.GELU, "SiLU": nn.SiLU, "Hardswish": nn.Hardswish}


class SeaAttention(nn.Module):
    """``hardsigmoid(proj(v + rows + columns)) * local``: (B, C, H, W) -> (B, C, H, W).

    ``rows`` is attention between the means of the rows, ``columns`` between those of the columns, so the cost grows
    with H^2 + W^2 instead of (H W)^2; ``local`` is a depthwise convolution of queries, keys and values. The norms of
    the gate start at zero, so the gate starts at 1/2. Any map size from 1 x 1. Parameter names as published.

    Args:
        dim: C.
        key_dim: channels of a head's queries and keys.
        num_heads: number of heads.
        attn_ratio: channels of a head's values as a multiple of ``key_dim``.
        activation: ReLU6, ReLU, GELU, SiLU or Hardswish.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Wan et al., SeaFormer: Squeeze-enhanced Axial Transformer for Mobile Semantic Segmentation, ICLR 2023,
    section 3.2.
    """

    def __init__(
        self, dim: int, key_dim: int = 16, num_heads: int = 4, attn_ratio: float = 2.0, activation: str = "ReLU6"
    ) -> None:
        super().__init__()
        check_positive(dim=dim, key_dim=key_dim, num_heads=num_heads)
        value_dim = int(attn_ratio * key_dim)
        if value_dim < 1:
            raise ValueError(f"attn_ratio must give key_dim {key_dim} at least one value channel, got {attn_ratio}")
        act = _activation(activation)
        self.dim = dim
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.num_heads = num_heads
        keys, values = key_dim * num_heads, value_dim * num_heads
        self.to_q = ConvBN(dim, keys)
        self.to_k = ConvBN(dim, keys)
        self.to_v = ConvBN(dim, values)
        self.proj = nn.Sequential(act(), ConvBN(values, dim, gamma=0.0))
        self.proj_encode_row = nn.Sequential(act(), ConvBN(values, values, gamma=0.0))
        self.positions = 16
        self.pos_emb_rowq = AxialPosition(keys, self.positions)
        self.pos_emb_rowk = AxialPosition(keys, self.positions)
        self.proj_encode_column = nn.Sequential(act(), ConvBN(values, values, gamma=0.0))
        self.pos_emb_columnq = AxialPosition(keys, self.positions)
        self.pos_emb_columnk = AxialPosition(keys, self.positions)
        mixed = 2 * keys + values
        self.dwconv = ConvBN(mixed, mixed, 3, groups=mixed)
        self.act = act()
        self.pwconv = ConvBN(mixed, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_q(x), self.to_k(x), self.to_v(x)
        local = self.pwconv(self.act(self.dwconv(torch.cat([query, key, value], dim=1))))
        height, width = (linear_resampling(self.positions, size, self.pos_emb_rowq.pos_embed) for size in x.shape[2:])
        query_rows, key_rows = self.pos_emb_rowq(query.mean(3), height), self.pos_emb_rowk(key.mean(3), height)
        rows = self._attend(query_rows, key_rows, value.mean(3)).unsqueeze(3)
        query_columns = self.pos_emb_columnq(query.mean(2), width)
        key_columns = self.pos_emb_columnk(key.mean(2), width)
        columns = self._attend(query_columns, key_columns, value.mean(2)).unsqueeze(2)
        gate = self.proj(value + self.proj_encode_row(rows) + self.proj_encode_column(columns))
        # Not F.hardsigmoid: its backward rounds 1/6 to float32 even in float64.
        return F.relu6(gate + 3) / 6 * local

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, heads * width, n) each, the width of query and key being key_dim -> (B, heads * value_dim, n)."""
        query, key, value = (tensor.unflatten(1, (self.num_heads, -1)) for tensor in (query, key, value))
        if query.is_cuda:
            query, key, value = query.transpose(2, 3), key.transpose(2, 3), value.transpose(2, 3)
            return F.scaled_dot_product_attention(query, key, value).transpose(2, 3).flatten(1, 2)
        return axis_attention(query, key, value).flatten(1, 2)

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width: convolutions and matrix products.

        The position tables of queries and keys are resampled by a matrix product along each axis.
        """
        resampling = 2 * self.key_dim * self.num_heads * self.positions * (height + width)
        return self.published_flops(height, width) + 2 * resampling

    def published_flops(self, height: int, width: int) -> int:
        """``flops`` of the published form, which interpolates the position tables."""
        keys, values = self.key_dim * self.num_heads, self.value_dim * self.num_heads
        mixed = 2 * keys + values
        macs = height * width * (2 * mixed * self.dim + 9 * mixed + values * self.dim)
        macs += self.num_heads * (height**2 + width**2) * (self.key_dim + self.value_dim)
        return 2 * (macs + values**2 * (height + width))


def axis_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, heads, width, n) each, positions last -> (B, heads, value width, n).

    ``F.scaled_dot_product_attention`` as two products: on a CPU it has no kernel for values of a different width.
    """
    heads = query.shape[1]
    scaled = (query * query.shape[2] ** -0.5).flatten(0, 1)
    weights = torch.bmm(scaled.transpose(1, 2), key.flatten(0, 1)).softmax(2)
    return torch.bmm(value.flatten(0, 1), weights.transpose(1, 2)).unflatten(0, (-1, heads))


class SeaMlp(nn.Module):
    """1x1, depthwise 3x3, activation, 1x1, with norms after both 1x1: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, hidden: int, activation: str = "ReLU6") -> None:
        super().__init__()
        self.fc1 = ConvBN(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = _activation(activation)()
        self.fc2 = ConvBN(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.dwconv(self.fc1(x))))

    def flops(self, height: int, width: int) -> int:
        hidden, dim = self.dwconv.out_channels, self.fc2.c.out_channels
        return 2 * height * width * hidden * (2 * dim + 9)


class SeaBlock(nn.Module):
    """``x += attn(x); x += mlp(x)``: (B, C, H, W) -> (B, C, H, W).

    Arguments and errors are those of :class:`SeaAttention`, and:
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples in training for which a branch is skipped.
    """

    def __init__(
        self,
        dim: int,
        key_dim: int = 16,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        attn_ratio: float = 2.0,
        activation: str = "ReLU6",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attn = SeaAttention(dim, key_dim, num_heads, attn_ratio, activation)
        self.mlp = SeaMlp(dim, hidden_channels(dim, mlp_ratio), activation)
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))

    def flops(self, height: int, width: int) -> int:
        """Operations (2 x multiply-adds) for one image of height x width."""
        return self.attn.flops(height, width) + self.mlp.flops(height, width)

    def published_flops(self, height: int, width: int) -> int:
        return self.attn.published_flops(height, width) + self.mlp.flops(height, width)


def _activation(name: str) -> type[nn.Module]:
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


BY_FORM = {"unit": SeaAttention, "residual": with_shortcut(SeaAttention), "block": SeaBlock}
