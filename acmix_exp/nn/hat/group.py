"""The residual group of HAT, a block of a detector: hybrid blocks, an overlapping one, a convolution, a shortcut."""

from __future__ import annotations

from torch import Tensor, nn

from acmix_exp.nn.hat.channel import CAB
from acmix_exp.nn.hat.hybrid import HAB
from acmix_exp.nn.hat.overlapping import OCAB
from acmix_exp.nn.hat.windows import on_whole_windows, whole
from acmix_exp.ops.window_attention.validation import check_positive

FORMS = ("group", "hybrid", "overlapping", "channel")


class AttentionBlocks(nn.Module):
    """The blocks of a group under their published keys: ``depth`` HABs, every other one shifted, then an OCAB."""

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
    """``x + conv3x3(blocks(x))``: (B, C, H, W) -> (B, C, H, W).

    Any map: it is extended to whole windows by its last row and column, and the result cropped. Keys as published.

    Args:
        channels, num_heads, window_size, compress_ratio, squeeze_factor, conv_scale, mlp_ratio, drop_path: see HAB.
        depth: number of HABs; the second, fourth and so on shifted by half a window.
        overlap_ratio: see OCAB.

    Raises:
        ValueError: one line, for a value that cannot work.

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
        check_positive("depth", depth)
        check_positive("window_size", window_size)
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


def hat(
    channels: int,
    form: str = "group",
    depth: int = 2,
    num_heads: int | None = None,
    window_size: int = 8,
    overlap_ratio: float = 0.5,
    compress_ratio: int = 3,
    squeeze_factor: int | None = None,
    conv_scale: float = 0.01,
    mlp_ratio: float = 2.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """HAT by form: "group" (the default), or one of its parts: "hybrid" (unshifted), "overlapping", "channel".

    A part ignores the options of the others. Raises ValueError for a value that cannot work.
    """
    narrowing = (compress_ratio, squeeze_factor)
    if form == "group":
        windows = (num_heads, window_size, overlap_ratio)
        return RHAG(channels, depth, *windows, *narrowing, conv_scale, mlp_ratio, drop_path)
    if form == "hybrid":
        return HAB(channels, num_heads, window_size, 0, *narrowing, conv_scale, mlp_ratio, drop_path)
    if form == "overlapping":
        return OCAB(channels, num_heads, window_size, overlap_ratio, mlp_ratio, drop_path)
    if form == "channel":
        return CAB(channels, *narrowing)
    raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
