"""Parameters and GFLOPs of a network as it runs in inference, with every operation inside our blocks counted."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn.layers import published_flops
from acmix_exp.profile.latency import fused


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


class Count(NamedTuple):
    """Costs of a network.

    parameters: as trained; parameters_fused: in the form for inference. gflops: 2e-9 x multiply-adds of one image, in
    that form; gflops_block: our blocks' part; gflops_published: gflops with the blocks in their published form.
    """

    parameters: int
    parameters_fused: int
    gflops: float
    gflops_block: float
    gflops_published: float
    sites: tuple[Site, ...] = ()

    def gflops_of(self, *stages: str) -> float | None:
        """GFLOPs of the named stages over all sites; None if no block reports stages."""
        selected = [stage for site in self.sites for name, stage in site.stages.items() if name in stages]
        return sum(stage.flops for stage in selected) / 1e9 if any(site.stages for site in self.sites) else None


def count(model: nn.Module, imgsz: int = 640) -> Count:
    """Count a model that takes (1, 3, ``imgsz``, ``imgsz``) float32, fused, in eval mode. The model is not changed.

    torch counts convolutions and matrix products (``FlopCounterMode``); activations, norms, pooling and interpolation
    are not counted. A module with a method ``flops(height, width)``, 2 x multiply-adds of one image at that input map,
    is counted by this method and not by torch, because window attention by shifted products contains no matrix product.
    Modules inside such a module are part of it. Of the blocks that ``model.blocks()`` names, one without such a method
    is counted by torch too, and is a site all the same.

    The network runs on meta tensors; our blocks run on the CPU, for the shape of their output. If the network cannot
    run on meta tensors, all of it runs on the CPU, with a warning. Raises what the forward pass raises on the CPU.
    """
    trained = {name: _size(module) for name, module in model.named_modules()}
    model = fused(model)
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
        sites = tuple(site for name, block in blocks.items() for site in block.sites(name, trained))
        rest, ours = counter.get_total_flops(), sum(site.flops for site in sites)
        published = sum(site.published_flops for site in sites)
        return Count(trained[""], _size(model), (rest + ours) / 1e9, ours / 1e9, (rest + published) / 1e9, sites)
    raise AssertionError("the last copy returns or raises")


class _StandIn(nn.Module):
    """Replaces a block: records the size of its input maps; its output has the correct shape and is not counted."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        inner = {} if _counts_itself(block) else _stand_ins(block.children())
        real = copy.deepcopy(block, inner).cpu().float().eval()
        self.real: tuple[Any, ...] = (real,)  # in a tuple, so that it is no submodule and stays off the meta device
        self.maps: list[tuple[int, int]] = []
        self.counts: list[tuple[int, int]] = []  # FLOPs as it runs and of the published form, for each map

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["real"][0], name)

    def forward(self, x: Tensor) -> Tensor:
        real, size = self.real[0], (x.shape[-2], x.shape[-1])
        inner = [module for module in real.modules() if isinstance(module, _StandIn)]
        for block in inner:
            block.counts.clear()
        with _disable_current_modes(), FlopCounterMode(display=False) as counter:
            output: Tensor = real(torch.zeros(x.shape))
        if _counts_itself(real):
            count = int(real.flops(*size)), int(published_flops(real, *size))
        else:
            parts = [part for block in inner for part in block.counts]
            count = tuple(counter.get_total_flops() + sum(part[form] for part in parts) for form in (0, 1))
        self.maps.append(size)
        self.counts.append(count)
        return output.to(x.device)

    def sites(self, name: str, trained: Mapping[str, int]) -> list[Site]:
        real = self.real[0]
        stages: Callable[[int, int], dict[str, Any]] = getattr(real, "stages", lambda height, width: {})
        return [
            Site(name, type(real).__name__, *size, *count, trained.get(name, _size(real)), stages(*size))
            for size, count in zip(self.maps, self.counts, strict=True)
        ]


def _counts_itself(module: nn.Module) -> bool:
    """Whether it has a method ``flops`` that takes a height and a width; elsewhere it may take other arguments."""
    try:
        inspect.signature(module.flops).bind(1, 1)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def _stand_ins(modules: Iterable[nn.Module], inserted: Collection[nn.Module] = ()) -> dict[int, Any]:
    """Stand-ins for the outermost modules that count themselves or are ``inserted``, as a memo of a deep copy."""
    found: dict[int, Any] = {}
    for module in modules:
        if module in inserted or _counts_itself(module):
            found[id(module)] = _StandIn(module)
        else:
            found |= _stand_ins(module.children(), inserted)
    return found


def _blocks(model: nn.Module) -> dict[int, Any]:
    inserted = getattr(model, "blocks", None)  # a method of a network with blocks
    return _stand_ins([model], list(inserted().values()) if inspect.ismethod(inserted) else [])


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _meta_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode with float32 parameters and buffers on meta; tensors that are plain attributes stay real.

    The strides of a detection head are such an attribute, and building its anchors reads them by ``item()``.
    """
    memo: dict[int, Any] = {id(tensor): _to_meta(tensor) for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo | _blocks(model)).eval()


def _meta_copy_with_attributes(model: nn.Module) -> nn.Module:
    """``_meta_copy`` with plain attributes on meta too: for a head that stores anchors of an earlier forward pass."""
    return _meta_copy(model).to("meta")


def _cpu_copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model, _blocks(model)).cpu().float().eval()


def _to_meta(tensor: Tensor) -> Tensor:
    """A meta tensor of the same shape, so that the deep copy copies no values."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
