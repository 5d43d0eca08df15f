"""Blocks in place of a strided convolution, an upsampling or a concatenation: results, precisions, copies, costs."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn import build_slot_block
from acmix_exp.nn.fusion import absorb, fuse
from acmix_exp.nn.stand_in import StandIn
from acmix_exp.slot_rules import SLOT_RULES
from benchmarks.straightforward import straightforward
from tests.nn.test_fit_for_use import export

CASES: list[tuple[str, dict[str, Any]]] = [
    ("spd_conv", {}),
    ("spd_conv", {"kernel_size": 1}),
    ("dysample", {}),
    ("dysample", {"dynamic": True, "groups": 2}),
    ("bilinear", {}),
    ("carafe", {}),
    ("carafe", {"kernel_up": 3, "compressed": 8}),
    ("bifpn", {}),
    ("bifpn", {"keep_scale": True}),
]
CHANNELS = 16


def ids(value: Any) -> str:
    return "-".join(map(str, value.values())) or "plain" if isinstance(value, dict) else str(value)


every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=ids)
every_block = pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))


def widths(name: str, channels: int = CHANNELS) -> tuple[tuple[int, ...], int]:
    """Channels of the maps that a block takes and of its result."""
    slot = str(SLOT_RULES[name].slot)
    inputs = (channels, channels // 2) if slot == "fuse" else (channels,)
    return inputs, {"down": channels + 8, "up": channels, "fuse": sum(inputs)}[slot]


def make(name: str, channels: int = CHANNELS, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    block = build_slot_block(name, *widths(name, channels), **options)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return block


def given(
    name: str, size: tuple[int, int], dtype: torch.dtype = torch.float32, batch: int = 2, channels: int = CHANNELS
) -> list[Tensor]:
    """The maps that a block takes; one, but for a fusion."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(batch, width, *size) for width in widths(name, channels)[0]]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def call(block: nn.Module, maps: list[Tensor]) -> Tensor:
    result: Tensor = block(maps if len(maps) > 1 else maps[0])
    return result


def expected_size(name: str, size: tuple[int, int], channels: int = CHANNELS) -> tuple[int, ...]:
    slot = str(SLOT_RULES[name].slot)
    scaled = {"down": lambda side: (side + 1) // 2, "up": lambda side: 2 * side, "fuse": lambda side: side}[slot]
    return (widths(name, channels)[1], scaled(size[0]), scaled(size[1]))


def assert_gradients(block: nn.Module, maps: list[Tensor]) -> None:
    """Finite, and of the dtype of what they belong to."""
    for key, value in [*block.named_parameters(), *((f"map {i}", x) for i, x in enumerate(maps))]:
        assert value.grad is not None, key
        assert value.grad.dtype == value.dtype, key
        assert value.grad.isfinite().all(), key


@pytest.mark.parametrize("size", [(80, 80), (20, 20), (12, 8), (7, 13), (2, 2), (1, 1)], ids=str)
@every_case
def test_forward_and_backward(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    block, maps = make(name, **options).train(), given(name, size)
    out = call(block, maps)
    assert out.shape[1:] == expected_size(name, size)
    out.square().sum().backward()
    assert_gradients(block, maps)


@pytest.mark.parametrize("channels", [64, 256, 640])
@every_block
def test_widths(name: str, channels: int) -> None:
    block, maps = make(name, channels).train(), given(name, (4, 3), batch=1, channels=channels)
    out = call(block, maps)
    assert out.shape[1:] == expected_size(name, (4, 3), channels)
    out.square().mean().backward()
    assert_gradients(block, maps)


@pytest.mark.parametrize("size", [(9, 11), (8, 6), (1, 1)], ids=str)
@every_case
def test_equals_its_straightforward_form(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    """In float64, output and all gradients."""
    block = make(name, **options).double()
    results = []
    for form in (block, straightforward(block)):
        maps = given(name, size, torch.float64)
        out = call(form, maps)
        leaves = [*maps, *form.parameters()]
        results.append([out, *torch.autograd.grad(out, leaves, torch.cos(out.detach()))])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-2), (torch.bfloat16, 1e-1)], ids=str)
@every_case
def test_half_precision(name: str, options: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    block = make(name, **options).eval().to(dtype)
    maps = given(name, (6, 10), dtype)
    out = call(block, maps)
    assert out.dtype == dtype
    out.float().sum().backward()
    assert_gradients(block, maps)
    full = call(copy.deepcopy(block).float(), [x.detach().float() for x in maps])
    torch.testing.assert_close(out.float(), full, rtol=tolerance, atol=tolerance)


@every_case
def test_autocast(name: str, options: dict[str, Any]) -> None:
    block, maps = make(name, **options).train(), given(name, (6, 8))
    with torch.autocast("cpu", torch.bfloat16):
        out = call(block, maps)
    out.float().square().mean().backward()
    assert_gradients(block, maps)
    torch.testing.assert_close(out.float(), call(block, maps), rtol=1e-1, atol=1e-1)


@every_case
def test_channels_last(name: str, options: dict[str, Any]) -> None:
    block, maps = make(name, **options).double().eval(), given(name, (6, 8), torch.float64)
    expected = call(block, maps)
    last = [x.detach().to(memory_format=torch.channels_last) for x in maps]
    actual = call(block.to(memory_format=torch.channels_last), last)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@every_case
def test_copies(name: str, options: dict[str, Any]) -> None:
    block, maps = make(name, **options).eval(), given(name, (6, 8))
    expected = call(block, maps)
    expected.sum().backward()
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)), torch.load(file, weights_only=False)):
        assert torch.equal(call(other, maps), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_case
def test_without_gradients(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """What runs in place where no gradient is needed computes the same and leaves its input as it was."""
    block, maps = make(name, **options).eval().to(dtype), given(name, (6, 10), dtype)
    before, expected = [x.detach().clone() for x in maps], call(block, maps)
    with torch.inference_mode():
        torch.testing.assert_close(call(block, maps), expected.detach())
    assert all(torch.equal(x, kept) for x, kept in zip(maps, before, strict=True))


@every_case
def test_flops(name: str, options: dict[str, Any]) -> None:
    """Its own count, of an input map, against torch's count of its straightforward form; a profile counts it so."""
    block, maps = make(name, **options).eval(), given(name, (6, 10), batch=1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(straightforward(block), maps)
    assert block.flops(6, 10) == counter.get_total_flops()  # type: ignore[operator]
    counted = StandIn(block)
    assert counted(maps if len(maps) > 1 else maps[0]).shape[1:] == expected_size(name, (6, 10))
    assert counted.counts == [(block.flops(6, 10), block.flops(6, 10))]  # type: ignore[operator]


@every_case
def test_a_norm_behind_it_is_folded_or_left(name: str, options: dict[str, Any]) -> None:
    block, maps = make(name, **options).eval(), given(name, (6, 8))
    norm = nn.BatchNorm2d(expected_size(name, (6, 8))[0]).eval()
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    expected = norm(call(block, maps))
    fused = fuse(copy.deepcopy(block))
    together = absorb(fused, norm)
    assert (together is None) == (name != "spd_conv")
    torch.testing.assert_close(norm(call(fused, maps)) if together is None else call(together, maps), expected)


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.slow)])
@every_block
def test_a_recorded_graph_takes_other_sizes(name: str, exporter: str) -> None:
    """Recorded with symbolic sizes, without ONNX."""
    block, maps = make(name).eval(), [x.detach() for x in given(name, (12, 16), batch=1)]
    example = (maps,) if len(maps) > 1 else (maps[0],)
    if exporter == "torchscript":
        recorded: Any = torch.jit.trace(block, example, check_trace=False)
    else:
        axes = {2: 2 * torch.export.Dim("h", min=2, max=64), 3: 2 * torch.export.Dim("w", min=2, max=64)}
        recorded = torch.export.export(
            block, example, dynamic_shapes=([axes] * len(maps) if len(maps) > 1 else axes,)
        ).module()
    others = [x.detach() for x in given(name, (8, 20), batch=1)]
    with torch.no_grad():
        torch.testing.assert_close(call(recorded, others), call(block, others), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.slow)])
@every_block
def test_onnx(name: str, exporter: str, tmp_path: Path) -> None:
    """Exported once with symbolic height and width, run at sizes that were not recorded."""

    def inputs(size: tuple[int, int]) -> list[Tensor]:
        return [x.detach() for x in given(name, size, batch=1)]

    export(make(name).eval(), exporter, tmp_path / "block.onnx", inputs, [(12, 16), (8, 20), (2, 2)], step=2)


def test_spd_conv_computes_what_a_6x6_convolution_of_stride_2_does() -> None:
    block, (x,) = make("spd_conv").double(), given("spd_conv", (8, 10), torch.float64)
    weight = block.conv.weight.detach()  # type: ignore[union-attr]
    wide = torch.zeros(widths("spd_conv")[1], CHANNELS, 6, 6, dtype=torch.float64)
    for number, (i, j) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        wide[:, :, i::2, j::2] = weight[:, number * CHANNELS : (number + 1) * CHANNELS]
    torch.testing.assert_close(block(x), torch.nn.functional.conv2d(x, wide, stride=2, padding=2))


@pytest.mark.parametrize(("kernel", "size"), [(3, (8, 10)), (5, (7, 9)), (1, (8, 8))])
def test_spd_conv_can_start_as_a_strided_convolution(kernel: int, size: tuple[int, int]) -> None:
    block: Any = make("spd_conv", kernel_size=kernel).double()
    weight = torch.randn(widths("spd_conv")[1], CHANNELS, 3, 3, dtype=torch.float64)
    before, (x,) = block.conv.weight.detach().clone(), given("spd_conv", size, torch.float64)
    assert block.start_as(weight) == (kernel >= 3)
    assert not block.start_as(weight[:, 1:])
    if kernel == 1:  # which does not reach the pixels before a cell
        assert torch.equal(block.conv.weight, before)
        return
    torch.testing.assert_close(block(x), torch.nn.functional.conv2d(x, weight, stride=2, padding=1))


def test_dysample_without_offsets_is_bilinear_upsampling() -> None:
    block = build_slot_block("dysample", (8,), 8)
    nn.init.zeros_(block.offset.weight)  # type: ignore[union-attr, arg-type]
    x = torch.randn(1, 8, 5, 7)
    torch.testing.assert_close(block(x), build_slot_block("bilinear", (8,), 8)(x))


def test_bifpn_weights_are_shares() -> None:
    maps = [torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3)]
    torch.testing.assert_close(build_slot_block("bifpn", (2, 4), 6)(maps), torch.full((1, 6, 3, 3), 1 / 2.0001))
    kept = build_slot_block("bifpn", (2, 4), 6, keep_scale=True)
    torch.testing.assert_close(kept(maps), torch.full((1, 6, 3, 3), 2 / 2.0001))
    with torch.no_grad():
        kept.weights.copy_(torch.tensor([-1.0, 3.0]))  # type: ignore[union-attr, operator]
    assert kept(maps)[0, :2].abs().max() == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dysample", {"groups": 3}, "groups must divide the 16 channels, got 3"),
        ("spd_conv", {"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ("carafe", {"kernel_up": 4}, "kernel_up must be odd, got 4"),
        ("bifpn", {"epsilon": 0}, "epsilon must be a number above 0, got 0"),
        ("bifpn", {"ratio": 1}, "block bifpn has no option 'ratio'; it has epsilon, keep_scale"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(name, **options)


@pytest.mark.parametrize("channels", [0, -16, 16.0, True, "16"])
@pytest.mark.parametrize("name", ["spd_conv", "dysample", "bilinear", "carafe"])
def test_channels_that_are_no_positive_whole_number_are_refused(name: str, channels: Any) -> None:
    message = rf"^(in_|out_)?channels must be a positive integer, got {channels!r}$"
    with pytest.raises(ValueError, match=message):
        build_slot_block(name, (channels,), channels)
    if name == "spd_conv":
        for inputs, outputs in ((16, channels), (channels, 16)):
            with pytest.raises(ValueError, match=message):
                build_slot_block(name, (inputs,), outputs)


@pytest.mark.parametrize(
    ("name", "inputs", "channels", "message"),
    [
        ("bifpn", (8, 8), 20, "channels must be 16, that of the maps that bifpn takes, got 20"),
        ("bifpn", (8, 8.5), 16, "channels must be a positive integer, got 8.5"),
        ("carafe", (8,), 16, "channels must be 8, that of the maps that carafe takes, got 16"),
        ("simam", (8,), 8, "block must be one of bifpn, bilinear, .*, got 'simam'"),
    ],
)
def test_what_a_slot_block_cannot_give_is_refused(name: str, inputs: Any, channels: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_slot_block(name, inputs, channels)


def test_a_fusion_of_no_maps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^inputs must be a positive integer, got 0$"):
        build_slot_block("bifpn", (), 8)
