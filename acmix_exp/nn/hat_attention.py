"""The parts of HAT: windows, channel attention (CAB), MLP, and attention of windows to larger areas (OCAB).

Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.block_rules import count_heads
from acmix_exp.nn.layers import ChannelLayerNorm, biased_attention, extend, hidden_channels, stochastic_depth
from acmix_exp.ops.checks import check_positive

MASKED = -100.0  # as published: e^-100 is zero in every dtype
SQUEEZE = 30  # as published: the largest squeeze_factor of the channel attention


def on_whole_windows(function: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """Apply ``function`` to the map (B, C, H, W), extended to whole windows by its last row and column, and crop."""
    height, width = x.shape[2:]
    x = extend(x, whole(height, window), whole(width, window)).contiguous(memory_format=torch.channels_last)
    return function(x)[:, :, :height, :width]


def whole(size: int, window: int) -> int:
    """The smallest multiple of ``window`` that is at least ``size``."""
    return (size + window - 1) // window * window


def window_index(window: int) -> Tensor:
    """The row of each (query, key), (window^2, window^2), in a table of one row per relative position.

    The table has (2 window - 1)^2 rows; the row is (dy + window - 1)(2 window - 1) + dx + window - 1, d = query - key.
    """
    pixels = torch.arange(window)
    return _rows(pixels[:, None] - pixels + window - 1, 2 * window - 1)


def overlapping_index(window: int, reach: int) -> Tensor:
    """The row of each (query, key), (window^2, reach^2), in a table of one row per relative position.

    Queries are the pixels of a window, keys those of the reach x reach area around it. The table has
    (window + reach - 1)^2 rows; the row is dy (window + reach - 1) + dx, d = key - query + window - reach + 1. Negative
    rows count from the end, as published.
    """
    ahead = torch.arange(reach) - torch.arange(window)[:, None]
    return _rows(ahead + window - reach + 1, window + reach - 1)


def _rows(step: Tensor, span: int) -> Tensor:
    """Combine the steps (queries, keys) along one axis to rows (queries^2, keys^2) of a table ``span`` wide."""
    rows = step[:, None, :, None] * span + step[None, :, None, :]
    return rows.flatten(0, 1).flatten(1) % span**2


def shift_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """The mask (windows, L, L) for a map rolled by ``shift``: 0 within a region, -100 across the seam."""
    rows, columns = _region(height, window, shift, like), _region(width, window, shift, like)
    region = (3 * rows[:, None] + columns).reshape(height // window, window, width // window, window)
    region = region.transpose(1, 2).reshape(-1, window**2)
    return (region[:, :, None] != region[:, None]).to(like.dtype) * MASKED


def _region(size: int, window: int, shift: int, like: Tensor) -> Tensor:
    """The region of each index: 0 before the last window, 1 in it, 2 in the part that the roll moved there."""
    index = torch.arange(size, device=like.device)
    return (index >= size - window).long() + (index >= size - shift).long()


def squeeze(channels: int, squeeze_factor: int | None) -> int:
    """``squeeze_factor``, or if it is None the published 30, at most a quarter of the channels and at least 1."""
    return max(1, min(SQUEEZE, channels // 4)) if squeeze_factor is None else squeeze_factor


class ChannelAttention(nn.Module):
    """``x * sigmoid(1x1(relu(1x1(mean of x))))``: (B, C, H, W) -> (B, C, H, W). Parameter names as published."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class CAB(nn.Module):
    """The channel attention block: 3x3 to C / compress_ratio, GELU, 3x3 back, gate. (B, C, H, W) -> (B, C, H, W).

    Any map size from 1 x 1. Parameter names as published.

    Args:
        channels: C.
        compress_ratio: factor by which the convolutions narrow the map.
        squeeze_factor: factor by which the gate narrows it; None: 30, at most a quarter of the channels.

    Raises:
        ValueError: in one line, for a value that leaves no channel.

    Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, section 3.2.2.
    """

    def __init__(self, channels: int, compress_ratio: int = 3, squeeze_factor: int | None = None) -> None:
        super().__init__()
        squeeze_factor = squeeze(channels, squeeze_factor)
        check_positive(compress_ratio=compress_ratio, squeeze_factor=squeeze_factor)
        for name, value in (("compress_ratio", compress_ratio), ("squeeze_factor", squeeze_factor)):
            if value > channels:
                raise ValueError(f"{name} must leave at least one of the {channels} channels, got {value}")
        self.channels = channels
        self.narrow = channels // compress_ratio
        self.squeezed = channels // squeeze_factor
        self.cab = nn.Sequential(
            nn.Conv2d(channels, self.narrow, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(self.narrow, channels, 3, padding=1),
            ChannelAttention(channels, self.squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 4 * self.channels * (9 * self.narrow * height * width + self.squeezed)


class TokenMlp(nn.Module):
    """Linear to ``int(channels * ratio)``, GELU, linear back, at each position of (B, C, H, W). Keys fc1, fc2.

    Raises ValueError if the ratio leaves no hidden channel.
    """

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = hidden_channels(channels, ratio)
        self.fc1 = nn.Linear(channels, self.hidden)
        self.fc2 = nn.Linear(self.hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 4 * height * width * self.channels * self.hidden


class OCAB(nn.Module):
    """The overlapping cross-attention block, ``x + attention(norm1(x))``, then ``x + mlp(norm2(x))``.

    (B, C, H, W) -> (B, C, H, W). The pixels of a window attend to an area (1 + overlap_ratio) times as wide around it.
    Keys and values outside the map are zeros that take part in the softmax, as published. Any map size from 1 x 1: the
    map is extended to whole windows by its last row and column, and the result cropped. Parameter names as published.

    Args:
        channels: C.
        num_heads: attention heads, a divisor of C; None: heads of about 32 channels (``count_heads``).
        window_size: side of the windows in pixels.
        overlap_ratio: int(window_size * overlap_ratio) pixels, an even number, are added to the side of the area.
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples in training for which the attention, or the MLP, is skipped. Not published.

    Raises:
        ValueError: in one line, for an invalid value.

    Source: Chen et al., Activating More Pixels in Image Super-Resolution Transformer, CVPR 2023, section 3.2.3.
    """

    index: Tensor

    def __init__(
        self,
        channels: int,
        num_heads: int | None = None,
        window_size: int = 8,
        overlap_ratio: float = 0.5,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(channels=channels, window_size=window_size)
        overlap = int(window_size * overlap_ratio)
        if overlap < 0 or overlap % 2:
            raise ValueError(
                f"overlap_ratio must add an even number of pixels to window_size {window_size}, got {overlap_ratio}"
            )
        self.channels = channels
        self.heads = count_heads(channels, num_heads)
        self.window = window_size
        self.reach = window_size + overlap
        rows = (window_size + self.reach - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, self.heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", overlapping_index(window_size, self.reach), persistent=False)
        self.norm1 = ChannelLayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = ChannelLayerNorm(channels)
        self.mlp = TokenMlp(channels, mlp_ratio)
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return on_whole_windows(self.on_windows, x, self.window)

    def on_windows(self, x: Tensor) -> Tensor:
        """``forward`` for a map whose sides are multiples of ``window_size``."""
        qkv = self.qkv(self.norm1(x).permute(0, 2, 3, 1))
        x = x + self.drop_path(self.proj(self._attend(qkv)).permute(0, 3, 1, 2))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, H, W, 3 C) -> (B, H, W, C)."""
        batch, height, width, _ = qkv.shape
        window, heads, head_dim = self.window, self.heads, self.channels // self.heads
        rows, columns = height // window, width // window
        query = qkv[..., : self.channels].reshape(batch, rows, window, columns, window, heads, head_dim)
        query = query.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, window**2, head_dim)
        key, value = self._areas(qkv[..., self.channels :], rows, columns).unbind(0)
        bias = self.relative_position_bias_table.to(qkv.dtype)[self.index].permute(2, 0, 1)[None]
        out = biased_attention(query, key, value, bias)
        out = out.reshape(batch, rows, columns, heads, window, window, head_dim)
        return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, self.channels)

    def _areas(self, key_value: Tensor, rows: int, columns: int) -> Tensor:
        """(B, H, W, 2 C) -> (2, B rows columns, heads, reach^2, head_dim): each window's area, zero outside the map."""
        batch, window, reach, heads = key_value.shape[0], self.window, self.reach, self.heads
        head_dim = self.channels // heads
        margin = (reach - window) // 2
        padded = F.pad(key_value, (0, 0, margin, margin, margin, margin))
        inside = torch.arange(reach, device=padded.device)
        down = (torch.arange(rows, device=padded.device)[:, None] * window + inside).reshape(-1)
        across = (torch.arange(columns, device=padded.device)[:, None] * window + inside).reshape(-1)
        areas = padded.index_select(1, down).index_select(2, across)
        areas = areas.reshape(batch, rows, reach, columns, reach, 2, heads, head_dim).permute(5, 0, 1, 3, 6, 2, 4, 7)
        return areas.reshape(2, batch * rows * columns, heads, reach**2, head_dim)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, of the extended map."""
        height, width = whole(height, self.window), whole(width, self.window)
        attention = 2 * height * width * self.channels * (4 * self.channels + 2 * self.reach**2)
        return attention + self.mlp.flops(height, width)
