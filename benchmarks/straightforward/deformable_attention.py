"""Deformable attention as published: a displacement per pair of pixel and point, products and a softmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.deformable_attention import DeformableAttention


def forward(block: DeformableAttention, x: Tensor) -> Tensor:
    heads, groups = block.heads, block.groups
    map_height, map_width = x.shape[2:]
    x = F.pad(x, (0, max(0, block.least - map_width), 0, max(0, block.least - map_height)), mode="replicate")
    batch, channels, height, width = x.shape
    query = block.proj_q(x)
    if block.offsets:
        offset = block.conv_offset(query.reshape(batch * groups, channels // groups, height, width))
        rows, columns = offset.shape[2:]
        reference = grid(torch.arange(rows) + 0.5, rows, torch.arange(columns) + 0.5, columns, x)
        if block.offset_range is None:
            position = (reference + offset.permute(0, 2, 3, 1)).clamp(-1, 1)
        else:
            reach = torch.tensor([1 / (rows - 1), 1 / (columns - 1)], dtype=x.dtype) * block.offset_range
            position = reference + offset.tanh().permute(0, 2, 3, 1) * reach
        grouped = x.reshape(batch * groups, channels // groups, height, width)
        sampled = F.grid_sample(grouped, position[..., (1, 0)], mode="bilinear", align_corners=True)
        sampled = sampled.reshape(batch, channels, 1, rows * columns)
    else:
        sampled = F.avg_pool2d(x, block.stride).reshape(batch, channels, 1, -1)
    query_, key, value = (
        t.reshape(batch * heads, channels // heads, -1) for t in (query, block.proj_k(sampled), block.proj_v(sampled))
    )
    logits = torch.bmm(query_.transpose(1, 2), key) * (channels // heads) ** -0.5
    if block.position in ("table", "log"):
        pixels = grid(torch.arange(height), height, torch.arange(width), width, x).reshape(1, height * width, 1, 2)
        displacement = pixels - position.reshape(batch * groups, 1, rows * columns, 2)
        if block.position == "table":
            table = block.rpe_table.expand(batch, -1, -1, -1).reshape(
                batch * groups, heads // groups, *block.rpe_table.shape[1:]
            )
            bias = F.grid_sample(table, displacement[..., (1, 0)] / 2, mode="bilinear", align_corners=True)
        else:
            displacement = 4 * displacement
            displacement = displacement.sign() * (displacement.abs() + 1).log2() / 3
            bias = block.rpe_table(displacement).permute(0, 3, 1, 2)
        logits = logits + bias.reshape(batch * heads, height * width, -1)
    elif block.position == "fixed":
        logits = logits + block.rpe_table.repeat(batch, 1, 1)
    out = torch.bmm(logits.softmax(2), value.transpose(1, 2)).transpose(1, 2).reshape(batch, channels, height, width)
    if block.position == "depthwise":
        out = out + block.rpe_table(query)
    return block.proj_out(out[:, :, :map_height, :map_width])


def grid(rows: Tensor, height: int, columns: Tensor, width: int, like: Tensor) -> Tensor:
    y, x = torch.meshgrid(rows.to(like) / (height - 1) * 2 - 1, columns.to(like) / (width - 1) * 2 - 1, indexing="ij")
    return torch.stack([y, x], -1)


FORWARDS = {DeformableAttention: forward}
