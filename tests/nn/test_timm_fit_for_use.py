"""Every layer of timm that is offered as a block: training, precisions, memory formats, copies, fusion, operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.block_rules import TIMM_LAYERS
from acmix_exp.nn import build_block
from acmix_exp.nn.fusion import fuse
from acmix_exp.nn.stand_in import operations
from tests.extras import needs_timm
from tests.nn.test_fit_for_use import (
    backward,
    check_autocast,
    check_copies,
    check_half_precision,
    close,
    every_half,
    image,
    make,
)

pytestmark = needs_timm
CHANNELS = 16
PIXELS = 6 * 7  # of the map whose operations are counted
PRODUCTS = {  # of matrices, each 2 x its multiply-adds
    "gc": 2 * CHANNELS * PIXELS,  # the mean of the map, by the attention
    "gca": 2 * CHANNELS * PIXELS,
    "nl": 2 * PIXELS**2 * CHANNELS,  # queries by keys and attention by values, of half the channels
    "lambda": 2 * (1 + 4 + 4) * PIXELS * 16 * CHANNELS // 4,  # keys by values; of 4 heads, queries by both lambdas
}
every_layer = pytest.mark.parametrize("layer", TIMM_LAYERS)


@pytest.mark.parametrize("size", [(20, 20), (7, 13), (2, 2), (1, 1)], ids=str)
@every_layer
def test_forward_and_backward(layer: str, size: tuple[int, int]) -> None:
    backward(make("timm", CHANNELS, layer=layer), image(size, CHANNELS))


@pytest.mark.parametrize("channels", [16, 64, 256, 640])
@every_layer
def test_widths(layer: str, channels: int) -> None:
    backward(build_block("timm", channels, layer=layer), image((3, 5), channels))


@every_half
@every_layer
def test_half_precision(layer: str, dtype: torch.dtype, tolerance: float) -> None:
    check_half_precision(make("timm", CHANNELS, layer=layer), dtype, tolerance)


@every_layer
def test_autocast(layer: str) -> None:
    if layer == "lambda":
        pytest.skip("in bfloat16 on a CPU, which is refused, the gradient of its Conv3d is at times not finite")
    check_autocast(make("timm", CHANNELS, layer=layer))


@every_layer
def test_channels_last(layer: str) -> None:
    block, x = make("timm", CHANNELS, layer=layer).double().eval(), image((6, 7)).double()
    expected = block(x)
    if layer != "lambda":  # torch moves no module with weights of five axes, as those of its Conv3d
        block.to(memory_format=torch.channels_last)
    close(block(x.to(memory_format=torch.channels_last)), expected, 1e-10)


@every_layer
def test_copies(layer: str) -> None:
    block, x = make("timm", CHANNELS, layer=layer), image((6, 5))
    check_copies(block)
    loaded = build_block("timm", CHANNELS, layer=layer).eval()
    loaded.load_state_dict(block.state_dict())
    assert torch.equal(loaded(x), block.eval()(x))


@every_layer
def test_fuse(layer: str) -> None:
    block, x = make("timm", CHANNELS, layer=layer).double().eval(), image((6, 7)).double()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    expected = block(x)
    close(fuse(block)(x), expected, 1e-10)


@every_layer
def test_operations(layer: str) -> None:
    """As a profile counts them, against convolutions and linear layers, seen by hooks, and products of matrices."""
    block = build_block("timm", CHANNELS, layer=layer).eval()
    seen = []

    def see(module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        seen.append(2 * out[0].numel() * weight[0].numel())

    for module in block.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            module.register_forward_hook(see)
    with torch.no_grad():
        block(image((6, 7), CHANNELS, 1))
    counted = operations(build_block("timm", CHANNELS, layer=layer), CHANNELS, 6, 7)
    assert counted == sum(seen) + PRODUCTS.get(layer, 0)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_our_coordinate_attention_is_that_of_timm(training: bool) -> None:
    """Written by others from the same paper: with the same weights, output and all gradients in float64."""
    ours = make("coordinate_attention", CHANNELS).double().train(training)
    theirs = build_block("timm", CHANNELS, layer="coord", rd_channels=ours.conv1.out_channels, bias=True).double()
    theirs.load_state_dict(ours.state_dict())
    results = []
    for block in (ours, theirs.train(training)):
        x = image((5, 7)).double().requires_grad_()
        out = block(x)
        leaves = [x, *(parameter for _, parameter in sorted(block.named_parameters()))]
        results.append([out, *torch.autograd.grad(out, leaves, torch.cos(out.detach()))])
    for actual, expected in zip(*results, strict=True):
        close(actual, expected, 1e-12)
