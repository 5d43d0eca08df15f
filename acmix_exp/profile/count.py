"""Parameters and GFLOPs of a network, with every operation inside our blocks counted."""

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
    """A call of one of our blocks: module name, class, input map in pixels, FLOPs and parameters.

    stages: FLOPs, bytes and parameters per stage, for blocks that have a method ``stages`` (see ``ACmix.stages``).
    """

    name: str
    kind: str
    height: int
    width: int
    flops: int
    parameters: int
    stages: dict[str, Any]


class Count(NamedTuple):
    """Costs of a network: all parameters, gflops (2e-9 x multiply-adds of one image), our blocks' part, the sites."""

    parameters: int
    gflops: float
    gflops_block: float
    sites: tuple[Site, ...] = ()

    def gflops_of(self, *stages: str) -> float | None:
        """GFLOPs of the named stages over all sites; None if no block reports stages."""
        selected = [stage for site in self.sites for name, stage in site.stages.items() if name in stages]
        return sum(stage.flops for stage in selected) / 1e9 if any(site.stages for site in self.sites) else None


def count(model: nn.Module, imgsz: int = 640) -> Count:
    """Count a model that takes (1, 3, ``imgsz``, ``imgsz``) float32, in eval mode. The model is not changed.

    torch counts convolutions and matrix products (``FlopCounterMode``); activations, norms and pooling are not
    counted. A module with a method ``flops(height, width)``, 2 x multiply-adds of one image at that input map, is
    counted by this method and not by torch, because window attention by shifted products contains no matrix product.
    Modules inside such a module are part of it.

    The network runs on meta tensors; our blocks run on the CPU, for the shape of their output. If the network cannot
    run on meta tensors, all of it runs on the CPU, with a warning. Raises what the forward pass raises on the CPU.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for make_copy in (_meta_copy, _meta_copy_with_attributes, _cpu_copy):
        network = make_copy(model)
        blocks = {name: module for name, module in network.named_modules() if isinstance(module, _StandIn)}
        device = "cpu" if make_copy is _cpu_copy else "meta"
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network(torch.zeros(1, 3, imgsz, imgsz, device=device))
        except Exception as error:
            if make_copy is _cpu_copy:
                raise
            if make_copy is _meta_copy_with_attributes:
                reason = " ".join(str(error).split())[:200]
                warnings.warn(f"FLOPs counted by a pass on the CPU, meta tensors failed: {reason}", stacklevel=2)
            continue
        sites = tuple(site for name, block in blocks.items() for site in block.sites(name))
        analytic = sum(site.flops for site in sites)
        return Count(parameters, (counter.get_total_flops() + analytic) / 1e9, analytic / 1e9, sites)
    raise AssertionError("the last copy returns or raises")


class _StandIn(nn.Module):
    """Replaces a block: records the size of its input maps; its output has the correct shape and is not counted."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        real = copy.deepcopy(block).cpu().float().eval()
        self.real: tuple[Any, ...] = (real,)  # in a tuple, so that it is no submodule and stays off the meta device
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
    """The outermost modules that have a method ``flops``."""
    if callable(getattr(module, "flops", None)):
        yield module
        return
    for child in module.children():
        yield from _blocks(child)


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode with float32 parameters and buffers on meta; tensors that are plain attributes stay real.

    The strides of a detection head are such an attribute, and building its anchors reads them by ``item()``.
    """
    memo: dict[int, Any] = {id(tensor): _to_meta(tensor) for tensor in (*model.parameters(), *model.buffers())}
    memo.update({id(block): _StandIn(block) for block in _blocks(model)})
    return copy.deepcopy(model, memo).eval()


def _meta_copy_with_attributes(model: nn.Module) -> nn.Module:
    """``_meta_copy`` with plain attributes on meta too: for a head that stores anchors of an earlier forward pass."""
    return _meta_copy(model).to("meta")


def _cpu_copy(model: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {id(block): _StandIn(block) for block in _blocks(model)}
    return copy.deepcopy(model, memo).cpu().float().eval()


def _to_meta(tensor: Tensor) -> Tensor:
    """A meta tensor of the same shape, so that the deep copy copies no values."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
