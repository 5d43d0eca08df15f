"""The speed rule: no block is slower than 1.1 times its straightforward form; one without parameters costs little.

Both sides run in turn, and the median of their ratios counts; one above the limit is measured again, twice at most.
Times are of the processor, so that what other processes do on a busy machine counts on neither side.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Concat

from acmix_exp.config import ModelConfig, PlacementConfig
from acmix_exp.insertions import placement_file
from acmix_exp.nn import build_block, build_slot_block
from acmix_exp.sweep import arm
from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.wrap import After
from benchmarks.straightforward import straightforward
from tests.yolo.builders import bare, make_config

LIMIT, SHARE = 1.1, 0.03
ROUNDS = 25


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of the times of ``ours`` by those of ``theirs``, which are taken in turn, each first every second."""
    ratios = []
    for number in range(rounds + 3):
        taken = {}
        for call in (ours, theirs) if number % 2 else (theirs, ours):
            start = time.process_time_ns()
            call()
            taken[call] = time.process_time_ns() - start
        ratios.append(taken[ours] / taken[theirs])
    return statistics.median(ratios[3:])


def step(block: nn.Module, given: Any) -> None:
    leaves = given if isinstance(given, list) else [given]
    out: Tensor = block(given)
    out.backward(torch.ones_like(out))
    for each in [*leaves, *block.parameters()]:
        each.grad = None


def cases() -> dict[str, tuple[Callable[[], nn.Module], Any]]:
    def image(channels: int, side: int) -> Tensor:
        return torch.randn(2, channels, side, side, requires_grad=True)

    keep_the_map = ("simam", "coordinate_attention", "gam", "triplet_attention", "mlca", "rfaconv", "wtconv", "pconv")
    return {
        **{name: (partial(build_block, name, 128), lambda: image(128, 40)) for name in keep_the_map},
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
        calls = partial(step, block, given), partial(step, plain, given)
    else:
        given = [x.detach() for x in given] if isinstance(given, list) else given.detach()
        calls = partial(block.eval(), given), partial(plain.eval(), given)
    found: list[float] = []
    with torch.inference_mode(mode == "inference"):
        while len(found) < 3 and (not found or found[-1] > LIMIT):
            found.append(ratio(*calls))
    print(f"{name} {mode}: {', '.join(f'{each:.2f}' for each in found)}")
    assert found[-1] <= LIMIT


def share(network: nn.Module, kind: type[nn.Module], x: Tensor) -> float:
    """The part of a pass that is spent in modules of a kind; the median of the passes."""
    inside, started = [0], [0]

    def start(*_: Any) -> None:
        started[0] = time.process_time_ns()

    def stop(*_: Any) -> None:
        inside[0] += time.process_time_ns() - started[0]

    for module in network.modules():
        if isinstance(module, kind):
            module.register_forward_pre_hook(start)
            module.register_forward_hook(stop)
    shares = []
    for _ in range(ROUNDS + 3):
        inside[0], before = 0, time.process_time_ns()
        network(x)
        shares.append(inside[0] / (time.process_time_ns() - before))
    return statistics.median(shares[3:])


@pytest.mark.slow
@pytest.mark.parametrize("size", [320, 640])
@pytest.mark.parametrize(("name", "kind"), [("simam", After), ("bifpn", Concat)])
def test_blocks_without_convolutions_cost_less_than_3_percent(name: str, kind: type[nn.Module], size: int) -> None:
    """Of a pass of YOLOv8n, fused: SimAM behind P4 and P5, with what joins it; all weighted fusions."""
    torch.set_num_threads(1)
    given = make_config(model=ModelConfig(placement=PlacementConfig(**placement_file("usual"))), block={"name": name})
    network, stock = (build_model(each, 80).eval().fuse(verbose=False) for each in (arm.usual(given), bare(given)))
    x = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        ours, before = share(network, kind, x), share(stock, kind, x)
    found = (ours - before) / (1 - ours)
    print(f"{name} {size}: {100 * found:.2f} %")
    assert 0 < found <= SHARE
