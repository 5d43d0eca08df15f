"""Modules that stand in for blocks while a network is counted, and the operations of one block."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn.layers import published_flops


class Site(NamedTuple):
    """A call of one of our blocks: module name, class, input map in pixels, FLOPs as it runs, trained parameters.

    published_flops: of the published form of the block, which may compute the same in another order.
    stages: FLOPs, bytes and parameters per stage, for blocks that have a method ``stages`` (see ``ACmix.stages``).
    """

    name: str
    kind: str
    height: int
    width: int
    flops: int
    published_flops: int
    parameters: int
    stages: dict[str, Any]


class StandIn(nn.Module):
    """Replaces a block: records the size of its input maps; its output has the correct shape and is not counted."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        inner = {} if counts_itself(block) else stand_ins(block.children())
        real = copy.deepcopy(block, inner).cpu().float().eval()
        self.real: tuple[Any, ...] = (real,)  # in a tuple, so that it is no submodule and stays off the meta device
        self.maps: list[tuple[int, int]] = []
        self.counts: list[tuple[int, int]] = []  # FLOPs as it runs and of the published form, for each map

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["real"][0], name)

    def forward(self, x: Any) -> Tensor:
        """x: a map, or the list of maps that a block in place of a concatenation takes."""
        first = x if isinstance(x, Tensor) else x[0]
        zeros = torch.zeros(x.shape) if isinstance(x, Tensor) else [torch.zeros(each.shape) for each in x]
        real, pixels = self.real[0], (first.shape[-2], first.shape[-1])
        inner = [module for module in real.modules() if isinstance(module, StandIn)]
        for block in inner:
            block.counts.clear()
        with _disable_current_modes(), FlopCounterMode(display=False) as counter:
            output: Tensor = real(zeros)
        if counts_itself(real):
            count = int(real.flops(*pixels)), int(published_flops(real, *pixels))
        else:
            parts = [part for block in inner for part in block.counts]
            count = tuple(counter.get_total_flops() + sum(part[form] for part in parts) for form in (0, 1))
        self.maps.append(pixels)
        self.counts.append(count)
        return output.to(first.device)

    def sites(self, name: str, trained: Mapping[str, int]) -> list[Site]:
        real = self.real[0]
        stages: Callable[[int, int], dict[str, Any]] = getattr(real, "stages", lambda height, width: {})
        return [
            Site(name, type(real).__name__, *pixels, *count, trained.get(name, parameters(real)), stages(*pixels))
            for pixels, count in zip(self.maps, self.counts, strict=True)
        ]


def counts_itself(module: nn.Module) -> bool:
    """Whether it has a method ``flops`` that takes a height and a width; elsewhere it may take other arguments."""
    try:
        inspect.signature(module.flops).bind(1, 1)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def stand_ins(modules: Iterable[nn.Module], inserted: Collection[nn.Module] = ()) -> dict[int, Any]:
    """Stand-ins for the outermost modules that count themselves or are ``inserted``, as a memo of a deep copy."""
    found: dict[int, Any] = {}
    for module in modules:
        if module in inserted or counts_itself(module):
            found[id(module)] = StandIn(module)
        else:
            found |= stand_ins(module.children(), inserted)
    return found


def operations(block: nn.Module, channels: int, height: int, width: int) -> int:
    """Operations (2 x multiply-adds) of a block for one image of ``channels`` x ``height`` x ``width``, as it runs."""
    if counts_itself(block):
        return int(block.flops(height, width))  # type: ignore[operator]
    stand_in = StandIn(block)
    with torch.no_grad():
        stand_in(torch.zeros(1, channels, height, width))
    return stand_in.counts[0][0]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
