"""The speed rule: no block is slower than 1.1 times its straightforward form; one without parameters costs little."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.nn import build_block, build_slot_block
from acmix_exp.yolo.model import build_model
from benchmarks.straightforward import straightforward
from tests.yolo.builders import bare, make_config

LIMIT, SHARE = 1.1, 0.03
NOISE = 0.05  # of two timings of one thing, here
ROUNDS = 25
# Channels and side of the maps of YOLOv8n.
P4_P5 = ((128, 40), (256, 20))
CONCATENATIONS = (((256, 128), 40), ((128, 64), 80), ((64, 128), 40), ((128, 256), 20))


def fastest(*calls: Callable[[], object]) -> list[float]:
    """The shortest time of each call, taken in turn: what other processes do makes a call longer, never shorter."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [min(taken[3:]) for taken in times]


def step(block: nn.Module, given: Any) -> None:
    leaves = given if isinstance(given, list) else [given]
    out: Tensor = block(given)
    out.backward(torch.ones_like(out))
    for each in [*leaves, *block.parameters()]:
        each.grad = None


def cases() -> dict[str, tuple[Callable[[], nn.Module], Any]]:
    def image(channels: int, side: int) -> Tensor:
        return torch.randn(2, channels, side, side, requires_grad=True)

    return {
        "simam": (lambda: build_block("simam", 128), lambda: image(128, 40)),
        "coordinate_attention": (lambda: build_block("coordinate_attention", 128), lambda: image(128, 40)),
        "spd_conv": (lambda: build_slot_block("spd_conv", (64,), 128), lambda: image(64, 80)),
        "carafe": (lambda: build_slot_block("carafe", (128,), 128), lambda: image(128, 20)),
        "dysample": (lambda: build_slot_block("dysample", (128,), 128), lambda: image(128, 40)),
        "bifpn": (lambda: build_slot_block("bifpn", (128, 64), 192), lambda: [image(128, 40), image(64, 40)]),
    }


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("name", cases())
def test_no_block_is_slower_than_its_straightforward_form(name: str, mode: str) -> None:
    torch.set_num_threads(1)
    build, make = cases()[name]
    block, given = build(), make()
    plain = straightforward(block)
    if mode == "training":
        ours, theirs = fastest(partial(step, block, given), partial(step, plain, given))
    else:
        with torch.no_grad():
            ours, theirs = fastest(partial(block.eval(), given), partial(plain.eval(), given))
    assert ours <= (LIMIT + NOISE) * theirs, f"{1e3 * ours:.2f} ms, straightforward {1e3 * theirs:.2f} ms"


@pytest.mark.slow
def test_blocks_without_convolutions_cost_less_than_3_percent() -> None:
    """Of the latency of YOLOv8n at 640 pixels: SimAM behind P4 and P5, and all weighted fusions less the stock ones."""
    torch.set_num_threads(1)
    network, x = build_model(bare(make_config()), 80).eval().fuse(verbose=False), torch.rand(1, 3, 640, 640)
    gates = [(build_block("simam", channels), torch.rand(1, channels, side, side)) for channels, side in P4_P5]
    maps = [[torch.rand(1, channels, side, side) for channels in widths] for widths, side in CONCATENATIONS]
    fusions = [(build_slot_block("bifpn", (1, 1), 2), each) for each in maps]
    with torch.no_grad():
        stock, gated, fused, joined = fastest(
            partial(network, x),
            lambda: [gate(each) for gate, each in gates],
            lambda: [fusion(each) for fusion, each in fusions],
            lambda: [torch.cat(each, 1) for each in maps],
        )
    for name, added in {"simam": gated, "bifpn": fused - joined}.items():
        assert added <= SHARE * stock, f"{name}: {1e3 * added:.2f} ms, YOLOv8n {1e3 * stock:.1f} ms"
