"""Hybrid attention (HAT): the hybrid block HAB and the residual group RHAG of HABs and one OCAB.

The parts that they share with the other forms are in ``hat_attention``.
Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acmix_exp.block_rules import count_heads
from acmix_exp.nn.hat_attention import CAB, OCAB, TokenMlp, on_whole_windows, shift_mask, whole, window_index
from acmix_exp.nn.layers import ChannelLayerNorm, biased_attention, stochastic_depth
from acmix_exp.ops.checks import check_positive


class WindowAttention(nn.Module):
    """Multi-head attention in square windows with a learned bias for each relative position.

    (B, C, H, W) -> (B, C, H, W), H and W multiples of ``window_size``. The windows are shifted cyclically by ``shift``
    pixels to the right and down; pixels that are neighbours only by the cyclic shift do not attend to each other.
    """

    index: Tensor

    def __init__(self, channels: int, num_heads: int | None, window_size: int, shift: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.heads = count_heads(channels, num_heads)
        self.window = window_size
        self.shift = shift
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", window_index(window_size), persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1)
        if self.shift:
            tokens = tokens.roll((-self.shift, -self.shift), (1, 2))
        tokens = self.proj(self._attend(self.qkv(tokens)))
        if self.shift:
            tokens = tokens.roll((self.shift, self.shift), (1, 2))
        return tokens.permute(0, 3, 1, 2)

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, H, W, 3 C) -> (B, H, W, C)."""
        batch, height, width, _ = qkv.shape
        window, heads, head_dim = self.window, self.heads, self.channels // self.heads
        rows, columns = height // window, width // window
        split = qkv.reshape(batch, rows, window, columns, window, 3, heads, head_dim).permute(5, 0, 1, 3, 6, 2, 4, 7)
        bias = self.relative_position_bias_table.to(qkv.dtype)[self.index].permute(2, 0, 1)
        if self.shift:
            # Windows share an axis with the heads, so that one mask serves all images.
            bias = bias + shift_mask(height, width, window, self.shift, bias)[:, None]
            bias = bias.reshape(1, rows * columns * heads, window**2, window**2)
            shape = (3, batch, rows * columns * heads, window**2, head_dim)
        else:
            bias = bias[None]
            shape = (3, batch * rows * columns, heads, window**2, head_dim)
        query, key, value = split.reshape(shape).unbind(0)
        out = biased_attention(query, key, value, bias)
        out = out.reshape(batch, rows, columns, heads, window, window, head_dim)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, self.channels)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, multiples of ``window_size``."""
        return 2 * height * width * self.channels * (4 * self.channels + 2 * self.window**2)


class HAB(nn.Module):
    """``x + attn(norm1(x)) + conv_scale * CAB(norm1(x))``, then ``x + mlp(norm2(x))``: (B, C, H, W) -> (B, C, H, W).

    Any map size from 1 x 1: the map is extended to whole windows by its last row and column, and the result cropped.
    Parameter names as published.

    Args:
        channels: C.
        num_heads: attention heads, a divisor of C; None: heads of about 32 channels (``count_heads``).
        window_size: side of the windows in pixels.
        shift: pixels by which the windows are shifted, from 0 to window_size - 1.
        compress_ratio, squeeze_factor: see CAB.
        conv_scale: weight of the channel attention.
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples in training for which the attention, or the MLP, is skipped.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, section 3.2.2.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int | None = None,
        window_size: int = 8,
        shift: int = 0,
        compress_ratio: int = 3,
        squeeze_factor: int | None = None,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(channels=channels, window_size=window_size)
        if not 0 <= shift < window_size:
            raise ValueError(f"shift must be from 0, below window_size {window_size}, got {shift}")
        self.window = window_size
        self.conv_scale = conv_scale
        self.norm1 = ChannelLayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window_size, shift)
        self.conv_block = CAB(channels, compress_ratio, squeeze_factor)
        self.norm2 = ChannelLayerNorm(channels)
        self.mlp = TokenMlp(channels, mlp_ratio)
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return on_whole_windows(self.on_windows, x, self.window)

    def on_windows(self, x: Tensor) -> Tensor:
        """``forward`` for a map whose sides are multiples of ``window_size``."""
        normed = self.norm1(x)
        x = x + self.drop_path(self.attn(normed)) + self.conv_scale * self.conv_block(normed)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, of the extended map."""
        height, width = whole(height, self.window), whole(width, self.window)
        return sum(part.flops(height, width) for part in (self.attn, self.conv_block, self.mlp))


class AttentionBlocks(nn.Module):
    """HABs and then an OCAB, under their published keys."""

    def __init__(self, blocks: list[HAB], overlap_attn: OCAB) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.overlap_attn = overlap_attn

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block.on_windows(x)  # type: ignore[operator]
        return self.overlap_attn.on_windows(x)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        blocks = sum(block.flops(height, width) for block in self.blocks)  # type: ignore[operator]
        return blocks + self.overlap_attn.flops(height, width)


class RHAG(nn.Module):
    """The residual group, ``x + conv3x3(OCAB(HAB(...HAB(x))))``: (B, C, H, W) -> (B, C, H, W).

    Any map size from 1 x 1: the map is extended to whole windows by its last row and column, and the result cropped.
    Parameter names as published.

    Args:
        channels, num_heads, window_size, compress_ratio, squeeze_factor, conv_scale, mlp_ratio, drop_path: see HAB.
        depth: number of HABs; the windows of every second one are shifted by half a window.
        overlap_ratio: see OCAB.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, section 3.2.
    """

    def __init__(
        self,
        channels: int,
        depth: int = 2,
        num_heads: int | None = None,
        window_size: int = 8,
        overlap_ratio: float = 0.5,
        compress_ratio: int = 3,
        squeeze_factor: int | None = None,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(depth=depth, window_size=window_size)
        self.channels = channels
        self.window = window_size
        more = (compress_ratio, squeeze_factor, conv_scale, mlp_ratio, drop_path)
        blocks = [HAB(channels, num_heads, window_size, (i % 2) * (window_size // 2), *more) for i in range(depth)]
        overlap_attn = OCAB(channels, num_heads, window_size, overlap_ratio, mlp_ratio, drop_path)
        self.residual_group = AttentionBlocks(blocks, overlap_attn)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + on_whole_windows(lambda tokens: self.conv(self.residual_group(tokens)), x, self.window)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, of the extended map."""
        height, width = whole(height, self.window), whole(width, self.window)
        return self.residual_group.flops(height, width) + 18 * height * width * self.channels**2


BY_FORM = {"group": RHAG, "hybrid": HAB, "overlapping": OCAB, "channel": CAB}
