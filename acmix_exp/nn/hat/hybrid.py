"""The hybrid attention block of HAT: shifted-window attention and channel attention side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from acmix_exp.head_count import count_heads
from acmix_exp.nn.biased_attention import biased_attention
from acmix_exp.nn.hat.channel import CAB
from acmix_exp.nn.hat.token_mlp import TokenMlp
from acmix_exp.nn.hat.windows import on_whole_windows, shift_mask, whole, window_index
from acmix_exp.nn.layer_norm import ChannelLayerNorm
from acmix_exp.ops.window_attention.validation import check_positive


class WindowAttention(nn.Module):
    """Multi-head attention in square windows with a learned bias for each relative position.

    (B, C, H, W) -> (B, C, H, W), H and W multiples of ``window_size``. ``shift``: the windows are moved by so many
    pixels right and down, around the border; pixels that only meet there do not see each other.
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
            # windows differ, images do not: windows go with the heads, so that the mask is one for all images
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
        """2 x multiply-adds for one image of height x width, multiples of the window's side."""
        return 2 * height * width * self.channels * (4 * self.channels + 2 * self.window**2)


class HAB(nn.Module):
    """``x + attention(norm1(x)) + conv_scale * CAB(norm1(x))``, then ``x + mlp(norm2(x))``. (B, C, H, W) to the same.

    Any map: it is extended to whole windows by its last row and column, and the result cropped. Keys as published.

    Args:
        channels: C.
        num_heads: attention heads, a divisor of C; None for the number that makes them nearest to 32 channels wide.
        window_size: side of the windows in pixels.
        shift: by how many pixels they are moved, 0 to window_size - 1.
        compress_ratio, squeeze_factor: see CAB.
        conv_scale: weight of the channel attention.
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples, in training, for which attention, or the MLP, is left out.

    Raises:
        ValueError: one line, for a value that cannot work.

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
        check_positive("channels", channels)
        check_positive("window_size", window_size)
        if not 0 <= shift < window_size:
            raise ValueError(f"shift must be from 0, below window_size {window_size}, got {shift}")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be from 0, below 1, got {drop_path}")
        self.window = window_size
        self.conv_scale = conv_scale
        self.norm1 = ChannelLayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads, window_size, shift)
        self.conv_block = CAB(channels, compress_ratio, squeeze_factor)
        self.norm2 = ChannelLayerNorm(channels)
        self.mlp = TokenMlp(channels, mlp_ratio)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        return on_whole_windows(self.on_windows, x, self.window)

    def on_windows(self, x: Tensor) -> Tensor:
        """``forward`` of a map that is whole windows."""
        normed = self.norm1(x)
        x = x + self.drop_path(self.attn(normed)) + self.conv_scale * self.conv_block(normed)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, of the extended map."""
        height, width = whole(height, self.window), whole(width, self.window)
        return sum(part.flops(height, width) for part in (self.attn, self.conv_block, self.mlp))
