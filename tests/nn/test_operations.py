"""What a block counts against what it really runs: torch's counter, and every product of maps that it does not see.

The counts agree within 2 %: ACmix counts its position embedding as published, two products per feature and pixel, and
runs less.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn import ACmix, build_block
from acmix_exp.nn.deformable_attention import LOG_HIDDEN, DeformableAttention
from acmix_exp.nn.fusion import fuse
from acmix_exp.nn.layers import published_flops
from benchmarks.block_costs import variants
from tests.nn.test_fit_for_use import image

TOLERANCE = 0.02
CHANNELS = 32
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *variants(),
    *(("acmix", {"head": head, "kernel_att": kernel}) for head in (1, 2, 8) for kernel in (3, 7)),
    ("acmix", {"kernel_conv": 5}),
    ("deformable_attention", {"position": "log"}),
    ("deformable_attention", {"position": "depthwise"}),
    ("deformable_attention", {"offsets": False}),
    ("dlka", {"offsets": "light"}),
    ("ema", {"factor": 4}),
    ("hat", {"form": "hybrid", "window_size": 4}),
    ("lska", {"kernel_size": 7}),
    ("sea_attention", {"key_dim": 8, "num_heads": 2}),
]


class Products(TorchDispatchMode):
    """Sums ``2 x elements`` of every element-wise product with one of ``sizes`` elements."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes, self.flops = sizes, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and out.numel() in self.sizes:
            self.flops += 2 * out.numel()
        return out


def measured(block: nn.Module, size: tuple[int, int]) -> int:
    """Operations of a forward pass of the block, fused; ACmix attends tap by tap, as its reference does."""
    block = fuse(copy.deepcopy(block).eval())
    sizes = []
    for part in block.modules():
        if isinstance(part, ACmix) and part.has_attention:
            part.backend = "reference"
            sizes = [CHANNELS * size[0] * size[1]]
        elif isinstance(part, DeformableAttention) and part.position == "log":
            height, width = (max(side, part.least) for side in size)
            first_layer = LOG_HIDDEN * part.groups * part.points(height) * part.points(width)
            sizes = [first_layer * height, first_layer * width]
    products = Products(*sizes)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, products:
        block(image(size, CHANNELS, 1))
    return counter.get_total_flops() + products.flops


@pytest.mark.parametrize("size", [(7, 13), (16, 12), (21, 40), (1, 1)], ids=str)
@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_counted_is_what_runs(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    block = build_block(name, CHANNELS, **options)
    assert block.flops(*size) == pytest.approx(measured(block, size), rel=TOLERANCE)
    assert fuse(copy.deepcopy(block)).flops(*size) == block.flops(*size)


def test_more_heads_of_acmix_cost_more() -> None:
    """The composed convolution reads 3 x head maps per feature; that of the published form is nearly independent."""
    by_head = [build_block("acmix", 128, head=head) for head in (1, 2, 4, 8)]
    megaflops = [round(block.flops(40, 40) / 1e6) for block in by_head]
    assert megaflops == [209, 220, 242, 286]
    assert [round(published_flops(block, 40, 40) / 1e6) for block in by_head] == [242, 242, 242, 242]


@pytest.mark.parametrize("path", ["mixed", "conv", "attention"])
def test_parameters_of_the_stages_are_those_of_the_fused_block(path: str) -> None:
    block = ACmix(16, 16, path=path)
    counted = sum(stage.parameters for stage in block.stages(8, 8).values())
    assert counted == sum(parameter.numel() for parameter in block.fuse().parameters())
