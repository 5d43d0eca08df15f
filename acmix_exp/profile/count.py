"""Parameters and GFLOPs of a network, with nothing left out inside our blocks."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode


class Site(NamedTuple):
    """One of our blocks where it is called: its module's name, its input map in pixels, its FLOPs and parameters.

    stages: FLOPs, bytes and parameters of each stage, where the block tells them (see ``ACmix.stages``).
    """

    name: str
    kind: str
    height: int
    width: int
    flops: int
    parameters: int
    stages: dict[str, Any]


class Count(NamedTuple):
    """parameters: all of them; gflops: 2e-9 x multiply-adds of one image; gflops_block: our blocks' part, by site in
    ``sites``."""

    parameters: int
    gflops: float
    gflops_block: float
    sites: tuple[Site, ...] = ()

    def gflops_of(self, *stages: str) -> float | None:
        """GFLOPs of the named stages over all sites; None where no block tells its stages."""
        found = [stage for site in self.sites for name, stage in site.stages.items() if name in stages]
        return sum(stage.flops for stage in found) / 1e9 if any(site.stages for site in self.sites) else None


def count(model: nn.Module, imgsz: int = 640) -> Count:
    """Count a model that takes (1, 3, ``imgsz``, ``imgsz``) float32, in eval mode. The model stays as it is.

    torch counts convolutions and matrix products (``FlopCounterMode``); activations, norms and pooling are
    not counted. A module that offers ``flops(height, width)``, 2 x multiply-adds for one image at that input
    map, is counted by what it says and not by what torch saw inside it: a window attention by shifted
    products holds no matrix product to see. A module inside such a module is part of it.

    The network runs on meta tensors, our blocks for their output's shape on the CPU. Where the network
    cannot, all of it runs on the CPU, with a warning. Raises what the forward raises there.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for copied in (_hollow, _hollow_with_attributes, _real):
        network = copied(model)
        blocks = {name: module for name, module in network.named_modules() if isinstance(module, _StandIn)}
        device = "cpu" if copied is _real else "meta"
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network(torch.zeros(1, 3, imgsz, imgsz, device=device))
        except Exception as error:
            if copied is _real:
                raise
            if copied is _hollow_with_attributes:
                reason = " ".join(str(error).split())[:200]
                warnings.warn(f"FLOPs counted by a pass on the CPU, meta tensors failed: {reason}", stacklevel=2)
            continue
        sites = tuple(site for name, block in blocks.items() for site in block.sites(name))
        analytic = sum(site.flops for site in sites)
        return Count(parameters, (counter.get_total_flops() + analytic) / 1e9, analytic / 1e9, sites)
    raise AssertionError("the last copy returns or raises")


class _StandIn(nn.Module):
    """Takes a block's place: notes the maps it is called on; its output has the right shape, uncounted."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        real = copy.deepcopy(block).cpu().float().eval()
        self.real: tuple[Any, ...] = (real,)  # no child of ours: the network may move to meta without it
        self.maps: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["real"][0], name)

    def forward(self, x: Tensor) -> Tensor:
        self.maps.append((x.shape[-2], x.shape[-1]))
        with _disable_current_modes():
            output: Tensor = self.real[0](torch.zeros(x.shape))
            return output.to(x.device)

    def sites(self, name: str) -> list[Site]:
        real = self.real[0]
        stages: Callable[[int, int], dict[str, Any]] = getattr(real, "stages", lambda height, width: {})
        parameters = sum(parameter.numel() for parameter in real.parameters())
        return [
            Site(name, type(real).__name__, *size, int(real.flops(*size)), parameters, stages(*size))
            for size in self.maps
        ]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules that count themselves."""
    if callable(getattr(module, "flops", None)):
        yield module
        return
    for child in module.children():
        yield from _blocks(child)


def _hollow(model: nn.Module) -> nn.Module:
    """An eval copy with float32 parameters and buffers on meta; tensors that are mere attributes stay real.

    A detection head's strides are such an attribute, and building its anchors reads them by ``item()``.
    """
    memo: dict[int, Any] = {id(tensor): _empty(tensor) for tensor in (*model.parameters(), *model.buffers())}
    memo.update({id(block): _StandIn(block) for block in _blocks(model)})
    return copy.deepcopy(model, memo).eval()


def _hollow_with_attributes(model: nn.Module) -> nn.Module:
    """All on meta that moves with the model: for a head that kept its anchors from an earlier forward."""
    return _hollow(model).to("meta")


def _real(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(block): _StandIn(block) for block in _blocks(model)}
    return copy.deepcopy(model, memo).cpu().float().eval()


def _empty(tensor: Tensor) -> Tensor:
    """Its shape without its numbers, which a deep copy would only carry around."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
