"""Blocks in place of a strided convolution, an upsampling or a concatenation: results, precisions, copies, costs."""

from __future__ import annotations

import copy
import io
import pickle
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
OUT = {"down": 24, "up": CHANNELS, "fuse": CHANNELS + 8}


def ids(value: Any) -> str:
    return "-".join(map(str, value.values())) or "plain" if isinstance(value, dict) else str(value)


every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=ids)


def make(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    slot = str(SLOT_RULES[name].slot)
    inputs = (CHANNELS, 8) if slot == "fuse" else (CHANNELS,)
    block = build_slot_block(name, inputs, OUT[slot], **options)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return block


def given(name: str, size: tuple[int, int], dtype: torch.dtype = torch.float32, batch: int = 2) -> list[Tensor]:
    """The maps that a block takes; one, but for a fusion."""
    generator = torch.Generator().manual_seed(1)
    widths = (CHANNELS, 8) if SLOT_RULES[name].slot == "fuse" else (CHANNELS,)
    return [torch.randn(batch, width, *size, generator=generator).to(dtype).requires_grad_() for width in widths]


def call(block: nn.Module, maps: list[Tensor]) -> Tensor:
    result: Tensor = block(maps if len(maps) > 1 else maps[0])
    return result


def expected_size(name: str, size: tuple[int, int]) -> tuple[int, ...]:
    slot = str(SLOT_RULES[name].slot)
    scaled = {"down": lambda side: (side + 1) // 2, "up": lambda side: 2 * side, "fuse": lambda side: side}[slot]
    return (OUT[slot], scaled(size[0]), scaled(size[1]))


@pytest.mark.parametrize("size", [(20, 20), (12, 8), (7, 13), (2, 2), (1, 1)], ids=str)
@every_case
def test_forward_and_backward(name: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    block, maps = make(name, **options).train(), given(name, size)
    out = call(block, maps)
    assert out.shape[1:] == expected_size(name, size)
    out.square().sum().backward()
    for key, value in [*block.named_parameters(), *((f"map {i}", x) for i, x in enumerate(maps))]:
        assert value.grad is not None, key
        assert value.grad.isfinite().all(), key


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
    assert all(x.grad is not None and x.grad.isfinite().all() for x in maps)
    full = call(copy.deepcopy(block).float(), [x.detach().float() for x in maps])
    torch.testing.assert_close(out.float(), full, rtol=tolerance, atol=tolerance)


@every_case
def test_autocast_channels_last_and_copies(name: str, options: dict[str, Any]) -> None:
    block, maps = make(name, **options).eval(), given(name, (6, 8))
    expected = call(block, maps)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(call(block, maps).float(), expected, rtol=1e-1, atol=1e-1)
    last = [x.detach().to(memory_format=torch.channels_last) for x in maps]
    formatted = copy.deepcopy(block).to(memory_format=torch.channels_last)
    torch.testing.assert_close(call(formatted, last), expected, rtol=1e-4, atol=1e-5)
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
@pytest.mark.parametrize("name", ["spd_conv", "dysample", "bilinear", "carafe", "bifpn"])
def test_a_recorded_graph_takes_other_sizes(name: str, exporter: str) -> None:
    """Recorded with symbolic sizes; an ONNX file of a whole network is in tests/yolo/test_slots.py."""
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


def test_spd_conv_computes_what_a_6x6_convolution_of_stride_2_does() -> None:
    block, (x,) = make("spd_conv").double(), given("spd_conv", (8, 10), torch.float64)
    weight = block.conv.weight.detach()  # type: ignore[union-attr]
    wide = torch.zeros(OUT["down"], CHANNELS, 6, 6, dtype=torch.float64)
    for number, (i, j) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        wide[:, :, i::2, j::2] = weight[:, number * CHANNELS : (number + 1) * CHANNELS]
    torch.testing.assert_close(block(x), torch.nn.functional.conv2d(x, wide, stride=2, padding=2))


@pytest.mark.parametrize(("kernel", "size"), [(3, (8, 10)), (5, (7, 9)), (1, (8, 8))])
def test_spd_conv_can_start_as_a_strided_convolution(kernel: int, size: tuple[int, int]) -> None:
    block: Any = make("spd_conv", kernel_size=kernel).double()
    weight = torch.randn(OUT["down"], CHANNELS, 3, 3, dtype=torch.float64)
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
