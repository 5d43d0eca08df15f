"""Deformable attention with what the transformer of its publication puts around it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from acmix_exp.nn.deformable_attention.unit import DeformableAttention
from acmix_exp.nn.layer_norm import ChannelLayerNorm

FORMS = ("unit", "residual", "block")


class DeformableResidual(nn.Module):
    """``x + attn(norm(x))`` with a layer norm over channels: (B, C, H, W) -> (B, C, H, W).

    ``options`` are DeformableAttention's, as are the errors; ``drop_path`` is the share of samples, in training, for
    which the branch is left out.
    """

    def __init__(self, channels: int, drop_path: float = 0.0, **options: object) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be from 0, below 1, got {drop_path}")
        self.attn = DeformableAttention(channels, **options)  # type: ignore[arg-type]
        self.norm1 = ChannelLayerNorm(channels)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.attn(self.norm1(x)))

    def flops(self, height: int, width: int) -> int:
        """2 x multiply-adds for one image of height x width: see DeformableAttention."""
        return self.attn.flops(height, width)


class LocalMlp(nn.Module):
    """1x1 to ``int(channels * ratio)``, a depthwise 3x3 with a residual, GELU, 1x1 back: (B, C, H, W) -> the same.

    Raises ValueError for a ratio that leaves no hidden channel. Source: Xia et al., DAT++, 2023, section 3.4.
    """

    def __init__(self, channels: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.channels = channels
        self.hidden = int(channels * ratio)
        if self.hidden < 1:
            raise ValueError(f"mlp_ratio must give {channels} channels at least one hidden channel, got {ratio}")
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
    """The residual form followed by ``x + mlp(norm(x))``: (B, C, H, W) -> (B, C, H, W)."""

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


def deformable_attention(
    channels: int,
    form: str = "residual",
    num_heads: int | None = None,
    num_groups: int | None = None,
    stride: int = 2,
    kernel_size: int = 5,
    offset_range: float | None = None,
    position: str = "table",
    query_size: int = 20,
    offsets: bool = True,
    mlp_ratio: float = 4.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """Deformable attention by form: "unit", "residual" (the default: the bare unit shrinks its input), "block".

    ``drop_path`` is the residual's and the block's, ``mlp_ratio`` the block's. Raises ValueError for a value that
    cannot work.
    """
    options: dict[str, object] = {
        "num_heads": num_heads,
        "num_groups": num_groups,
        "stride": stride,
        "kernel_size": kernel_size,
        "offset_range": offset_range,
        "position": position,
        "query_size": query_size,
        "offsets": offsets,
    }
    if form == "unit":
        return DeformableAttention(channels, **options)  # type: ignore[arg-type]
    if form == "residual":
        return DeformableResidual(channels, drop_path, **options)
    if form == "block":
        return DeformableBlock(channels, mlp_ratio, drop_path, **options)
    raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
