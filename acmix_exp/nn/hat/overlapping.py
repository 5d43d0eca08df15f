"""The overlapping cross-attention block of HAT: each window attends to a larger area around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from acmix_exp.head_count import count_heads
from acmix_exp.nn.biased_attention import biased_attention
from acmix_exp.nn.hat.token_mlp import TokenMlp
from acmix_exp.nn.hat.windows import on_whole_windows, overlapping_index, whole
from acmix_exp.nn.layer_norm import ChannelLayerNorm
from acmix_exp.ops.window_attention.validation import check_positive


class OCAB(nn.Module):
    """``x + attention(norm1(x))``, then ``x + mlp(norm2(x))``: (B, C, H, W) -> (B, C, H, W).

    The queries of a window see the keys of an area (1 + overlap_ratio) times as wide around it. Keys and values
    outside the map are zeros that take part, as published. Any map: it is extended to whole windows by its last row
    and column, and the result cropped. Keys as published.

    Args:
        channels: C.
        num_heads: attention heads, a divisor of C; None for the number that makes them nearest to 32 channels wide.
        window_size: side of the windows in pixels.
        overlap_ratio: int(window_size * overlap_ratio) pixels, an even number, are added to the side of the keys' area.
        mlp_ratio: hidden channels of the MLP as a multiple of C.
        drop_path: share of samples, in training, for which attention, or the MLP, is left out. Not published.

    Raises:
        ValueError: one line, for a value that cannot work.

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
        check_positive("channels", channels)
        check_positive("window_size", window_size)
        overlap = int(window_size * overlap_ratio)
        if overlap < 0 or overlap % 2:
            raise ValueError(
                f"overlap_ratio must add an even number of pixels to window_size {window_size}, got {overlap_ratio}"
            )
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be from 0, below 1, got {drop_path}")
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
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        return on_whole_windows(self.on_windows, x, self.window)

    def on_windows(self, x: Tensor) -> Tensor:
        """``forward`` of a map that is whole windows."""
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
        """(B, H, W, 2 C) -> (2, B rows columns, heads, reach^2, head_dim): what each window sees, zero off the map."""
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
