"""Deformable attention (DAT): every pixel attends to a coarse grid of points with learned offsets.

First the geometry of the points, then the position biases, the attention, and the forms around it.
Sources: Xia et al., Vision Transformer with Deformable Attention, CVPR 2022; DAT++, 2023.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acmix_exp.block_rules import count_groups, count_heads
from acmix_exp.nn.layers import ChannelLayerNorm, at_least, biased_attention, extend, hidden_channels, stochastic_depth
from acmix_exp.ops.checks import check_choice, check_positive

LOG_HIDDEN = 32  # hidden channels of the MLP of position "log"
POSITIONS = ("table", "depthwise", "log", "fixed", "none")


def reference_points(height: int, width: int, like: Tensor) -> Tensor:
    """The undisplaced grid, ``2 (i + 1/2) / (n - 1) - 1`` for n >= 2 points per side: (height, width, 2) as (y, x).

    In the dtype and on the device of ``like``. The points reach from -1 + 1/(n - 1) to 1 + 1/(n - 1), so the last ones
    lie outside the map, as published.
    """
    y = (torch.arange(height, device=like.device).to(like.dtype) + 0.5) * 2 / (height - 1) - 1
    x = (torch.arange(width, device=like.device).to(like.dtype) + 0.5) * 2 / (width - 1) - 1
    return torch.stack([y[:, None].expand(height, width), x.expand(height, width)], -1)


def moved_points(offset: Tensor, offset_range: float | None) -> Tensor:
    """Offsets (G, 2, h, w), channel 0 along y, to positions (G, h, w, 2) as (y, x).

    offset_range: largest offset in steps of the grid, by tanh. None: offsets are added unchanged and the positions
    clamped to the map.
    """
    height, width = offset.shape[2:]
    reference = reference_points(height, width, offset)
    if offset_range is None:
        return (reference + offset.permute(0, 2, 3, 1)).clamp(-1, 1)
    squashed = offset.tanh() * offset_range
    moved = torch.stack([squashed[:, 0] / (height - 1), squashed[:, 1] / (width - 1)], -1)
    return reference + moved


def displacements(height: int, width: int, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Query minus position, along y (G, H, 1, Ns) and along x (G, 1, W, Ns), from positions (G, h, w, 2).

    Queries are the pixels of a map of height x width, both >= 2: ``2 i / (n - 1) - 1``.
    """
    positions = positions.flatten(1, 2)
    y = torch.arange(height, device=positions.device).to(positions.dtype) * 2 / (height - 1) - 1
    x = torch.arange(width, device=positions.device).to(positions.dtype) * 2 / (width - 1) - 1
    along_y = y[:, None, None] - positions[:, None, None, :, 0]
    along_x = x[:, None] - positions[:, None, None, :, 1]
    return along_y, along_x


def table_bias(table: Tensor, positions: Tensor, groups: int, height: int, width: int) -> Tensor:
    """The bias (B, heads, height width, points), sampled from ``table`` (heads, th, tw) at the displacements.

    positions: (B groups, h, w, 2). The table spans displacements of [-2, 2] x [-2, 2], so it fits any map size.
    """
    heads = table.shape[0]
    along_y, along_x = displacements(height, width, positions)
    count = along_y.shape[3]
    pairs = positions.shape[0], height, width, count
    grid = torch.stack([(along_x / 2).expand(pairs), (along_y / 2).expand(pairs)], -1)
    batch = positions.shape[0] // groups
    planes = table.to(grid.dtype).reshape(groups, heads // groups, *table.shape[1:]).repeat(batch, 1, 1, 1)
    bias = F.grid_sample(planes, grid.reshape(pairs[0], height * width, count, 2), align_corners=True)
    return bias.reshape(batch, heads, height * width, count)


def log_bias(mlp: nn.Sequential, positions: Tensor, groups: int, height: int, width: int) -> Tensor:
    """The bias (B, heads, height width, points) by an MLP of the logarithm of the displacement, one for all groups.

    positions: (B groups, h, w, 2). The first layer is a sum of a part for y and a part for x, so it is applied to rows
    and columns instead of pairs.
    """
    first, last = mlp[0], mlp[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    along_y, along_x = (_log(4 * along) for along in displacements(height, width, positions))
    weight = first.weight.to(along_y.dtype)
    by_y = along_y[..., None] * weight[:, 0] + first.bias.to(along_y.dtype)
    hidden = (by_y + along_x[..., None] * weight[:, 1]).relu()
    bias = (hidden @ last.weight.to(along_y.dtype).t()).permute(0, 4, 1, 2, 3)
    heads = groups * last.weight.shape[0]
    return bias.reshape(positions.shape[0] // groups, heads, height * width, along_y.shape[3])


def _log(displacement: Tensor) -> Tensor:
    return displacement.sign() * torch.log2(displacement.abs() + 1) / 3


class OffsetNorm(nn.Module):
    """A layer norm over channels, under the published key ``norm``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class DeformableAttention(nn.Module):
    """Multi-head attention of all pixels to a coarse grid of moved points: (B, C, H, W) -> (B, C, H, W).

    Any map size from 1 x 1: a side too short for two points is extended by its last row or column, and the result
    cropped. Parameter names as published. Positions are computed in float32 or better.

    Args:
        channels: C.
        num_heads: attention heads, a divisor of C; None: heads of about 32 channels (``count_heads``).
        num_groups: groups of channels with offsets of their own, a divisor of the heads; None: ``count_groups``.
        stride: pixels per point along each side. The logits take H W x (H / stride) (W / stride) values per head.
        kernel_size: side of the depthwise convolution that predicts the offsets from the queries.
        offset_range: largest offset in steps of the grid; None: anywhere on the map.
        position: "table", biases over displacements, sampled, for any map size; "depthwise", a convolution of the
            queries added to the result; "log", an MLP of log displacements; "fixed", biases for one map size; "none".
        query_size: map size (or side of a square map) that "table" is made for or that "fixed" requires.
        offsets: False: average pooling instead of moved points, without position, as published.

    Raises:
        ValueError: in one line, for an invalid value, and in ``forward`` for a map that "fixed" does not fit.

    Source: Xia et al., Vision Transformer with Deformable Attention, CVPR 2022, section 3.2; DAT++, 2023, for "log".
    """

    def __init__(
        self,
        channels: int,
        num_heads: int | None = None,
        num_groups: int | None = None,
        stride: int = 2,
        kernel_size: int = 5,
        offset_range: float | None = None,
        position: str = "table",
        query_size: int | tuple[int, int] = 20,
        offsets: bool = True,
    ) -> None:
        super().__init__()
        check_positive(channels=channels)
        self.heads = count_heads(channels, num_heads)
        self.groups = count_groups(self.heads, num_groups)
        check_positive(stride=stride, kernel_size=kernel_size)
        if offset_range is not None and not offset_range >= 0:
            raise ValueError(f"offset_range must be a number from 0, or null for anywhere, got {offset_range}")
        check_choice("position", position, POSITIONS)
        self.query_size = (query_size, query_size) if isinstance(query_size, int) else tuple(query_size)
        for side in self.query_size:
            check_positive(query_size=side)
        self.channels = channels
        self.stride = stride
        self.kernel_size = kernel_size
        self.padding = 0 if kernel_size == stride else kernel_size // 2
        self.offset_range = offset_range
        self.position = position if offsets else "none"
        self.offsets = offsets
        self.least = max(2, stride + kernel_size - 2 * self.padding) if offsets else stride

        self.proj_q = nn.Conv2d(channels, channels, 1)
        self.proj_k = nn.Conv2d(channels, channels, 1)
        self.proj_v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        if offsets:
            width = channels // self.groups
            self.conv_offset = nn.Sequential(
                nn.Conv2d(width, width, kernel_size, stride, self.padding, groups=width),
                OffsetNorm(width),
                nn.GELU(),
                nn.Conv2d(width, 2, 1, bias=False),
            )
        self._make_position()

    def _make_position(self) -> None:
        height, width = self.query_size
        self.rpe_table: nn.Module | nn.Parameter
        if self.position == "depthwise":
            self.rpe_table = nn.Conv2d(self.channels, self.channels, 3, padding=1, groups=self.channels)
        elif self.position == "log":
            last = nn.Linear(LOG_HIDDEN, self.heads // self.groups, bias=False)
            self.rpe_table = nn.Sequential(nn.Linear(2, LOG_HIDDEN), nn.ReLU(), last)
        elif self.position == "fixed":
            points = self.points(height) * self.points(width)
            self.rpe_table = nn.Parameter(torch.empty(self.heads, height * width, points))
        elif self.position == "table":
            self.rpe_table = nn.Parameter(torch.empty(self.heads, 2 * height - 1, 2 * width - 1))
        if isinstance(getattr(self, "rpe_table", None), nn.Parameter):
            nn.init.trunc_normal_(self.rpe_table, std=0.01)  # type: ignore[arg-type]

    def points(self, side: int) -> int:
        """Number of points along a side of ``side`` pixels."""
        if not self.offsets:
            return max(side, self.least) // self.stride
        return (max(side, self.least) + 2 * self.padding - self.kernel_size) // self.stride + 1

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = extend(x, at_least(height, self.least), at_least(width, self.least))
        query = self.proj_q(x)
        if self.offsets:
            positions = self.sampling_positions(query)
            points = self._sample(x, positions)
            bias = self._bias(positions, *x.shape[2:])
        else:
            points, bias = F.avg_pool2d(x, self.stride).flatten(2).unsqueeze(2), None
        out = self._attend(query, self.proj_k(points), self.proj_v(points), bias)
        if self.position == "depthwise":
            out = out + self.rpe_table(query)  # type: ignore[operator]
        return self.proj_out(out[:, :, :height, :width])

    def sampling_positions(self, query: Tensor) -> Tensor:
        """Positions (B groups, h, w, 2) as (y, x) in [-1, 1] from queries (B, C, H, W), in float32 or float64."""
        with torch.autocast(query.device.type, enabled=False):
            offset = self.conv_offset(self._grouped(query).to(self.proj_q.weight.dtype))
            return moved_points(offset if offset.dtype == torch.float64 else offset.float(), self.offset_range)

    def _grouped(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B groups, C / groups, H, W), all sizes explicit: the tracer freezes inferred ones."""
        return x.reshape(x.shape[0] * self.groups, self.channels // self.groups, x.shape[2], x.shape[3])

    def _sample(self, x: Tensor, positions: Tensor) -> Tensor:
        """The map, sampled at the positions: (B, C, 1, Ns) in the dtype of x."""
        with torch.autocast(x.device.type, enabled=False):
            points = F.grid_sample(self._grouped(x).to(positions.dtype), positions.flip(-1), align_corners=True)
            count = positions.shape[1] * positions.shape[2]
            return points.reshape(x.shape[0], self.channels, 1, count).to(x.dtype)

    def _bias(self, positions: Tensor, height: int, width: int) -> Tensor | None:
        """(B or 1, heads, H W, Ns), or None."""
        with torch.autocast(positions.device.type, enabled=False):
            if self.position == "table":
                return table_bias(self.rpe_table, positions, self.groups, height, width)  # type: ignore[arg-type]
            if self.position == "log":
                return log_bias(self.rpe_table, positions, self.groups, height, width)  # type: ignore[arg-type]
        if self.position == "fixed":
            if (height, width) != self.query_size:
                size = " x ".join(map(str, self.query_size))
                raise ValueError(f"position='fixed' was made for a map of {size}, got {height} x {width}: use 'table'")
            return self.rpe_table.unsqueeze(0)  # type: ignore[operator]
        return None

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) from queries (B, C, H, W), keys and values (B, C, 1, Ns)."""
        q, k, v = (
            t.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3).contiguous() for t in (query, key, value)
        )
        out = biased_attention(q, k, v, None if bias is None else bias.to(q.dtype))
        return out.transpose(2, 3).reshape(query.shape)

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width, without the bilinear sampling of points and table.

        The first layer of position "log" runs on rows and columns, not on pairs of a pixel and a point.
        """
        if self.position != "log":
            return self.published_flops(height, width)
        rows, columns = max(height, self.least), max(width, self.least)
        spared = 2 * rows * columns - (rows + columns)
        points = self.points(rows) * self.points(columns)
        return self.published_flops(height, width) - 2 * LOG_HIDDEN * self.groups * points * spared

    def published_flops(self, height: int, width: int) -> int:
        """``flops`` of the published form."""
        cropped = height * width
        height, width = max(height, self.least), max(width, self.least)
        pixels, points = height * width, self.points(height) * self.points(width)
        macs = self.channels**2 * (pixels + cropped + 2 * points) + 2 * self.channels * pixels * points
        if self.offsets:
            macs += self.channels * (self.kernel_size**2 + 2) * points
        if self.position == "depthwise":
            macs += 9 * self.channels * pixels
        if self.position == "log":
            macs += pixels * points * LOG_HIDDEN * (2 * self.groups + self.heads)
        return 2 * macs


class DeformableResidual(nn.Module):
    """``x + attn(norm1(x))`` with a layer norm over channels: (B, C, H, W) -> (B, C, H, W).

    ``drop_path`` is the share of samples in training for which the branch is skipped. ``options`` and errors are those
    of DeformableAttention.
    """

    def __init__(self, channels: int, drop_path: float = 0.0, **options: object) -> None:
        super().__init__()
        self.attn = DeformableAttention(channels, **options)  # type: ignore[arg-type]
        self.norm1 = ChannelLayerNorm(channels)
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.attn(self.norm1(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width: as DeformableAttention."""
        return self.attn.flops(height, width)

    def published_flops(self, height: int, width: int) -> int:
        return self.attn.published_flops(height, width)


class LocalMlp(nn.Module):
    """1x1 to ``int(channels * ratio)``, depthwise 3x3 with shortcut, GELU, 1x1 back: (B, C, H, W) -> (B, C, H, W).

    Raises ValueError if the ratio leaves no hidden channel. Source: Xia et al., DAT++, 2023, section 3.4.
    """

    def __init__(self, channels: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = hidden_channels(channels, ratio)
        self.fc1 = nn.Conv2d(channels, self.hidden, 1)
        self.dwconv = nn.Conv2d(self.hidden, self.hidden, 3, padding=1, groups=self.hidden)
        self.fc2 = nn.Conv2d(self.hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        return self.fc2(F.gelu(hidden + self.dwconv(hidden)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width."""
        return 2 * height * width * self.hidden * (2 * self.channels + 9)


class DeformableBlock(DeformableResidual):
    """DeformableResidual, then ``x + mlp(norm2(x))``: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, mlp_ratio: float = 4.0, drop_path: float = 0.0, **options: object) -> None:
        super().__init__(channels, drop_path, **options)
        self.norm2 = ChannelLayerNorm(channels)
        self.mlp = LocalMlp(channels, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width: attention and MLP."""
        return super().flops(height, width) + self.mlp.flops(height, width)

    def published_flops(self, height: int, width: int) -> int:
        return super().published_flops(height, width) + self.mlp.flops(height, width)


BY_FORM = {"unit": DeformableAttention, "residual": DeformableResidual, "block": DeformableBlock}
