"""Every block in every form: training, precisions, memory formats, copies, operations and export."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.block_rules import channel_faults
from acmix_exp.config import ModelConfig, PlacementConfig
from acmix_exp.nn import Identity, block_names, build_block, build_slot_block
from acmix_exp.nn.layers import published_flops
from acmix_exp.slot_rules import SLOT_RULES
from acmix_exp.yolo.sites import Network, resolve_sites
from benchmarks.block_costs import variants
from benchmarks.straightforward import forwards, straightforward

SIZES = [(80, 80), (40, 40), (20, 20), (7, 13), (2, 2), (1, 1)]


def ids(value: Any) -> str:
    return "-".join(value.values()) or "plain" if isinstance(value, dict) else str(value)


def make(name: str, channels: int = 16, **options: Any) -> nn.Module:
    """The block with randomised weights: a gate that is zero at first would hide the rest."""
    torch.manual_seed(0)
    block = build_block(name, channels, **options)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return block


def image(size: tuple[int, int], channels: int = 16, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert actual.isfinite().all()
    error = (actual.double() - expected.double()).abs().max().item()
    assert error <= tolerance * max(1.0, expected.abs().max().item())


every_block = pytest.mark.parametrize("name", block_names())
every_variant = pytest.mark.parametrize(("name", "options"), variants(), ids=ids)
BETWEEN = {(40, 40): pytest.mark.slow, (20, 20): pytest.mark.slow}
every_size = pytest.mark.parametrize(
    "size", [pytest.param(size, marks=BETWEEN.get(size, ()), id=f"{size[0]}x{size[1]}") for size in SIZES]
)


def backward(block: nn.Module, x: Tensor) -> Tensor:
    """Forward and backward in training; every parameter and the input must get a finite gradient."""
    x = x.requires_grad_()
    out = block.train()(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    (out * torch.cos(torch.arange(out.numel()).view(out.shape))).sum().backward()
    for key, parameter in [("input", x), *block.named_parameters()]:
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
    return out


@every_size
@every_block
def test_forward_and_backward(name: str, size: tuple[int, int]) -> None:
    if size[0] > 40:
        backward(make(name, 8), image(size, 8, batch=1))
    else:
        backward(make(name), image(size))


@pytest.mark.parametrize("size", [(5, 8), (1, 3), (1, 1)], ids=["5x8", "1x3", "1x1"])
@every_variant
def test_every_form_uses_all_its_parameters(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    for batch in (1, 2):
        backward(make(name, **options), image(size, batch=batch))


@pytest.mark.parametrize("training", [True, False])
def test_one_group_of_ema_on_a_single_pixel(training: bool) -> None:
    block = make("ema", factor=1).train(training)
    assert block(image((1, 1), batch=1)).isfinite().all()


@pytest.mark.slow
@every_size
@every_variant
def test_forward_and_backward_in_every_form(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    backward(make(name, 32, **options), image(size, 32))


def widths() -> list[int]:
    """Channels of every site of YOLOv8, after a layer and inside its bottlenecks, at all five scales."""
    found = set()
    for mode, names in (("after", ["backbone", "sppf", "neck"]), ("replace", ["backbone", "neck"])):
        placement = PlacementConfig(name="all", mode=mode, sites=names)
        for scale in "nsmlx":
            found |= {site.channels for site in resolve_sites(placement, Network.of(ModelConfig(scale=scale)))}
    return sorted(found)


def test_the_widths_of_yolov8() -> None:
    assert (widths()[0], widths()[-1]) == (16, 640)


@every_block
def test_widths(name: str) -> None:
    few = [16, 80, 640]
    for channels in few:
        block = build_block(name, channels).eval()
        assert channel_faults(name, {}, {"site": channels}, "n") == []
        with torch.no_grad():
            assert block(image((3, 5), channels, 1)).shape == (1, channels, 3, 5)


@pytest.mark.slow
@every_variant
def test_every_width_in_every_form(name: str, options: dict[str, Any]) -> None:
    for channels in widths():
        x = image((3, 5), channels)
        assert build_block(name, channels, **options)(x).shape == x.shape


def check_half_precision(block: nn.Module, dtype: torch.dtype, tolerance: float) -> None:
    block = block.eval().to(dtype)
    x = image((7, 10)).to(dtype).requires_grad_()
    out = block(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    close(out, copy.deepcopy(block).float()(x.float()), tolerance)


every_half = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1)], ids=str)


@every_half
@every_variant
def test_half_precision(name: str, options: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    check_half_precision(make(name, **options), dtype, tolerance)


def check_autocast(block: nn.Module) -> None:
    block, x = block.eval(), image((7, 10)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = block(x)
    out.float().square().mean().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all(), key
    close(out, block(x), 1e-1)


@every_variant
def test_autocast(name: str, options: dict[str, Any]) -> None:
    check_autocast(make(name, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_variant
def test_without_gradients(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """What runs in place, or fused, where no gradient is needed computes the same and leaves its input as it was."""
    block, x = make(name, **options).eval().to(dtype), image((7, 10)).to(dtype)
    before, expected = x.clone(), block(x)
    with torch.inference_mode():
        close(block(x), expected, 1e-5 if dtype is torch.float32 else 1e-1)
    assert torch.equal(x, before)


@every_variant
def test_channels_last(name: str, options: dict[str, Any]) -> None:
    block = make(name, **options).double().eval()
    x = image((6, 7)).double()
    expected = block(x)
    close(block.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)), expected, 1e-10)


def check_copies(block: nn.Module) -> None:
    block, x = block.eval(), image((6, 5)).requires_grad_()
    expected = block(x)
    expected.sum().backward()
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), expected)


@every_variant
def test_copies(name: str, options: dict[str, Any]) -> None:
    check_copies(make(name, **options))


@every_variant
def test_equals_its_straightforward_form(name: str, options: dict[str, Any]) -> None:
    """In float64, output and all gradients, in training: norms by the batch."""
    block = make(name, **options).double().train()
    literal = straightforward(block)
    results = []
    for form in (block, literal):
        x = image((9, 11)).double().requires_grad_()
        out = form(x)
        leaves = [x, *form.parameters()]
        results.append([out, *torch.autograd.grad(out, leaves, torch.cos(out.detach()), allow_unused=True)])
    for actual, expected in zip(*results, strict=True):
        close(actual, torch.zeros_like(actual) if expected is None else expected, 1e-9)


@pytest.mark.parametrize("size", [(7, 13), (16, 12)], ids=["7x13", "16x12"])
@every_variant
def test_flops(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    """The block's own count of its published form against torch's count of its straightforward form."""
    block = build_block(name, 32, **options).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        straightforward(block)(image(size, 32, 1))
    assert published_flops(block, *size) == counter.get_total_flops()


@every_block
def test_torchscript_at_another_size_and_batch(name: str) -> None:
    block = make(name).eval()
    with torch.no_grad():
        traced = torch.jit.trace(block, image((16, 16), 16, 1), check_trace=False)
        x = image((20, 24), 16, 3)
        torch.testing.assert_close(traced(x), block(x), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@every_variant
def test_onnx_in_every_form(name: str, options: dict[str, Any], exporter: str, tmp_path: Path) -> None:
    """Exported once with symbolic height and width, run at sizes that were not traced."""
    export(make(name, **options).eval(), exporter, tmp_path / "block.onnx")


def one_image(size: tuple[int, int]) -> list[Tensor]:
    return [image(size, batch=1)]


def export(
    block: nn.Module,
    exporter: str,
    path: Path,
    inputs: Callable[[tuple[int, int]], list[Tensor]] = one_image,
    sizes: Sequence[tuple[int, int]] = ((12, 16), (20, 20), (7, 13)),
    step: int = 1,
) -> None:
    """Export ``block`` at the first size, and compare its file with it at all.

    inputs: the maps of one size, which the block takes as a list if there are several. step: divides all sizes.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    if exporter == "dynamo":
        pytest.importorskip("onnxscript")
    if isinstance(block, Identity):
        block = nn.Sequential(block, nn.Tanh())  # a graph whose output is its input is none to the dynamo exporter
    maps = inputs(sizes[0])
    names = [f"x{number}" for number in range(len(maps))]
    args = (maps,) if len(maps) > 1 else (maps[0],)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            height, width = (step * torch.export.Dim(name, min=1 + (step == 1), max=512) for name in ("h", "w"))
            axes: Any = [{2: height, 3: width} for _ in maps]
            torch.onnx.export(
                block,
                args,
                path,
                dynamo=True,
                opset_version=20,
                input_names=names,
                dynamic_shapes=(axes if len(maps) > 1 else axes[0],),
                verbose=False,
            )
        else:
            free = {name: {2: "height", 3: "width"} for name in names}
            torch.onnx.export(block, args, path, dynamo=False, opset_version=18, input_names=names, dynamic_axes=free)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == names
    for size in sizes:
        maps = inputs(size)
        (actual,) = session.run(None, {name: x.numpy() for name, x in zip(names, maps, strict=True)})
        with torch.no_grad():
            close(torch.from_numpy(actual), block(maps if len(maps) > 1 else maps[0]), 1e-4)


@every_block
def test_invalid_channels_are_refused(name: str) -> None:
    for channels in (0, -16, 16.0):
        with pytest.raises(ValueError, match=rf"^channels must be a positive integer, got {channels}$"):
            build_block(name, channels)


def test_every_straightforward_form_belongs_to_a_block() -> None:
    used = {type(module) for name, options in variants() for module in build_block(name, 16, **options).modules()}
    of_slots = {type(build_slot_block(name, (16,), 16)) for name, rules in SLOT_RULES.items() if rules.slot != "loss"}
    assert set(forwards()) <= used | of_slots
