"""SEA as published: products and a softmax per axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.layers import AxialPosition
from acmix_exp.nn.sea_attention import SeaAttention


def position(module: AxialPosition, x: Tensor) -> Tensor:
    return x + F.interpolate(module.pos_embed, size=x.shape[2], mode="linear", align_corners=False)


def forward(block: SeaAttention, x: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    query, key, value = block.to_q(x), block.to_k(x), block.to_v(x)
    local = block.pwconv(block.act(block.dwconv(torch.cat([query, key, value], dim=1))))

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        size = query.shape[2]
        query = query.reshape(batch, block.num_heads, block.key_dim, size)
        key = key.reshape(batch, block.num_heads, block.key_dim, size)
        value = value.reshape(batch, block.num_heads, block.value_dim, size).transpose(2, 3)
        weights = (torch.matmul(query.transpose(2, 3), key) * block.key_dim**-0.5).softmax(3)
        return torch.matmul(weights, value).permute(0, 1, 3, 2).reshape(batch, -1, size)

    rows = attend(position(block.pos_emb_rowq, query.mean(3)), position(block.pos_emb_rowk, key.mean(3)), value.mean(3))
    columns = attend(
        position(block.pos_emb_columnq, query.mean(2)), position(block.pos_emb_columnk, key.mean(2)), value.mean(2)
    )
    rows = block.proj_encode_row(rows.reshape(batch, -1, height, 1))
    columns = block.proj_encode_column(columns.reshape(batch, -1, 1, width))
    gate = block.proj(value + rows + columns)
    return (gate + 3).clamp(0, 6) / 6 * local


FORWARDS = {SeaAttention: forward}
