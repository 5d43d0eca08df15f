"""Parameters and GFLOPs of a network as it runs in inference, with every operation inside our blocks counted."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_exp.nn.stand_in import Site, StandIn, parameters, stand_ins
from acmix_exp.profile.latency import fused


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
    trained = {name: parameters(module) for name, module in model.named_modules()}
    model = fused(model)
    for make_copy in (_meta_copy, _meta_copy_with_attributes, _cpu_copy):
        network = make_copy(model)
        blocks = {name: module for name, module in network.named_modules() if isinstance(module, StandIn)}
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
        return Count(trained[""], parameters(model), (rest + ours) / 1e9, ours / 1e9, (rest + published) / 1e9, sites)
    raise AssertionError("the last copy returns or raises")


def _blocks(model: nn.Module) -> dict[int, Any]:
    inserted = getattr(model, "blocks", None)  # a method of a network with blocks
    return stand_ins([model], list(inserted().values()) if inspect.ismethod(inserted) else [])


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
