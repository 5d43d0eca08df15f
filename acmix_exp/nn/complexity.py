"""The cost of ACmix per stage: as it runs, and in its published form."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from acmix_exp.ops.window_attention.geometry import output_size, tap_index

if TYPE_CHECKING:
    from acmix_exp.nn.acmix import ACmix


class Stage(NamedTuple):
    """The cost of one stage for one image.

    flops: 2 x multiply-adds. bytes: every operand read once and the result written once; intermediates of the stage,
    such as unfolded windows, are not counted. parameters: number of weights that the stage reads.
    """

    flops: int
    bytes: int
    parameters: int


def acmix_stages(
    block: ACmix, height: int, width: int, itemsize: int = 4, *, published: bool = False
) -> dict[str, Stage]:
    """The cost of ``block`` for one image of height x width, elements of ``itemsize`` bytes, per stage.

    "projection" is Stage I, the three 1x1 convolutions. "attention" (position embedding and the two products of the
    window) and "convolution", if the path has them, are Stage II. Biases, softmax and the products with the rates are
    not counted.

    Both forms differ in the convolution alone: what runs, in training too, is one convolution with composed weights,
    3 h k_c^2 C multiply-adds per output site for h heads. Published are ``fc`` and ``dep_conv``: 3 k_c^2 C per pixel
    and k_c^4 C per site. With stride 1 they are equal for h = 1 + k_c^2 / 3. Attention counts the taps of each window;
    a backend may compute masked products besides, and reads the position embedding from its two axes. Parameters are
    those of the form: composed, or trained.

    Source: Pan et al., CVPR 2022, section 4.2 and table 1, where Stage I is 3 C^2 and Stage II 2 k_a^2 C for attention,
    3 k_c^2 C + k_c^4 C for the convolution, each times H W.
    """
    pixels = height * width
    sites = output_size(height, block.stride) * output_size(width, block.stride)
    channels, dim, taps = block.out_planes, block.head_dim, block.kernel_conv**2

    def stage(macs: int, read: int, written: int, parameters: int) -> Stage:
        return Stage(2 * macs, itemsize * (read + written + parameters), parameters)

    weights = 3 * (block.in_planes * channels + channels)
    stages = {
        "projection": stage(
            3 * block.in_planes * channels * pixels, block.in_planes * pixels, 3 * channels * pixels, weights
        )
    }
    if block.has_attention:
        read_pixels = _covered(height, block) * _covered(width, block)
        macs = 2 * dim * pixels + 2 * channels * block.kernel_att**2 * sites
        # The bias of the position embedding cancels; the rate of a single branch is part of the values.
        weights = 3 * dim + 1 if published else 2 * dim + block.has_conv
        stages["attention"] = stage(macs, channels * sites + 2 * channels * read_pixels, channels * sites, weights)
    if block.has_conv:
        macs = weights = 3 * block.head * taps * channels
        macs *= sites
        if published:
            macs = 3 * block.head * taps * dim * pixels + channels * taps**2 * sites
            weights = 3 * block.head * taps + channels * taps**2 + 1
        stages["convolution"] = stage(macs, 3 * channels * pixels, channels * sites, weights)
    return stages


def _covered(size: int, block: ACmix) -> int:
    """Number of positions of an axis that lie in some window: a large stride leaves gaps."""
    return int(tap_index(size, block.kernel_att, block.stride, block.dilation, torch.device("cpu")).unique().numel())
