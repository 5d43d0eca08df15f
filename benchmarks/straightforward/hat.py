"""HAT as published: partitioned and merged windows, products and a softmax, unfolded keys of the larger windows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn.hat import HAB, OCAB, RHAG


def hybrid(block: HAB, x: Tensor) -> Tensor:
    x, size = padded(x, block.window)
    return cropped(hybrid_tokens(block, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), size)


def overlapping(block: OCAB, x: Tensor) -> Tensor:
    x, size = padded(x, block.window)
    return cropped(overlapping_tokens(block, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), size)


def group(block: RHAG, x: Tensor) -> Tensor:
    whole, size = padded(x, block.window)
    tokens = whole.permute(0, 2, 3, 1)
    for part in block.residual_group.blocks:
        tokens = hybrid_tokens(part, tokens)
    tokens = overlapping_tokens(block.residual_group.overlap_attn, tokens)
    return cropped(block.conv(tokens.permute(0, 3, 1, 2).contiguous()) + whole, size)


def hybrid_tokens(block: HAB, x: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    attn, window, shift = block.attn, block.window, block.attn.shift
    normed = norm(block.norm1, x)
    channel = block.conv_block(normed.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)
    cut = windows(normed.roll((-shift, -shift), (1, 2)) if shift else normed, window)
    query, key, value = attn.qkv(cut).reshape(len(cut), window**2, 3, attn.heads, -1).permute(2, 0, 3, 1, 4)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    table = attn.relative_position_bias_table[attn.index.flatten()]
    logits = logits + table.reshape(window**2, window**2, -1).permute(2, 0, 1).contiguous()
    if shift:
        mask = published_mask(height, width, window, shift, x)
        logits = logits.reshape(batch, len(mask), attn.heads, window**2, window**2) + mask[None, :, None]
        logits = logits.reshape(-1, attn.heads, window**2, window**2)
    out = attn.proj((logits.softmax(-1) @ value).transpose(1, 2).reshape(len(cut), window**2, channels))
    out = merged(out, window, height, width)
    out = out.roll((shift, shift), (1, 2)) if shift else out
    x = x + out + channel * block.conv_scale
    return x + mlp(block, x)


def overlapping_tokens(block: OCAB, x: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    window, reach, heads = block.window, block.reach, block.heads
    qkv = block.qkv(norm(block.norm1, x)).permute(0, 3, 1, 2)
    query, key_value = qkv[:, :channels].permute(0, 2, 3, 1).contiguous(), qkv[:, channels:]
    query = windows(query, window)
    areas = F.unfold(key_value, reach, stride=window, padding=(reach - window) // 2)
    areas = areas.reshape(batch, 2, channels, reach**2, -1).permute(1, 0, 4, 3, 2).contiguous()
    key, value = areas.reshape(2, len(query), reach**2, channels)
    query, key, value = (
        t.reshape(len(query), -1, heads, channels // heads).transpose(1, 2) for t in (query, key, value)
    )
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    table = block.relative_position_bias_table[block.index.flatten()]
    logits = logits + table.reshape(window**2, reach**2, -1).permute(2, 0, 1).contiguous()
    out = (logits.softmax(-1) @ value).transpose(1, 2).reshape(-1, window**2, channels)
    x = x + block.proj(merged(out, window, height, width))
    return x + mlp(block, x)


def norm(layer: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


def mlp(block: HAB | OCAB, x: Tensor) -> Tensor:
    return block.mlp.fc2(F.gelu(block.mlp.fc1(norm(block.norm2, x))))


def windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) -> (B windows, side^2, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().reshape(-1, side**2, channels)


def merged(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of ``windows``."""
    x = x.reshape(-1, height // side, width // side, side, side, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().reshape(-1, height, width, x.shape[-1])


def published_mask(height: int, width: int, side: int, shift: int, like: Tensor) -> Tensor:
    """The mask (windows, side^2, side^2) from consecutive numbers of the regions of the rolled map."""
    region = like.new_zeros(1, height, width, 1)
    parts = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in parts for columns in parts):
        region[:, rows, columns] = number
    region = windows(region, side).squeeze(2)
    return (region[:, None] - region[:, :, None]).ne(0).to(like) * -100.0


def padded(x: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % side, 0, -height % side), mode="replicate"), (height, width)


def cropped(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x[:, :, : size[0], : size[1]]


FORWARDS = {HAB: hybrid, OCAB: overlapping, RHAG: group}
