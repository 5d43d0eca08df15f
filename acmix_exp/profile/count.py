"""Parameters and GFLOPs of a network, with nothing left out inside our blocks."""

from __future__ import annotations

import copy
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class Count(NamedTuple):
    """parameters: all of them; gflops: 2e-9 x multiply-adds of one image; gflops_block: our blocks' part."""

    parameters: int
    gflops: float
    gflops_block: float


def count(model: nn.Module, imgsz: int = 640) -> Count:
    """Count a model that takes (1, 3, ``imgsz``, ``imgsz``) float32, in eval mode. The model stays as it is.

    torch counts convolutions and matrix products (``FlopCounterMode``); activations, norms and pooling are
    not counted. A module that offers ``flops(height, width)``, 2 x multiply-adds for one image at that input
    map, is counted by what it says and not by what torch saw inside it: a window attention by shifted
    products holds no matrix product to see. A module inside such a module is part of it.

    Runs on meta tensors; where a block cannot, with a warning on the CPU. Raises what the forward raises
    there.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    image = torch.zeros(1, 3, imgsz, imgsz)
    for copied in (_hollow_copy, _hollow_copy_with_attributes):
        try:
            seen, analytic = _pass(copied(model), image.to("meta"))
            break
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
    else:
        warnings.warn(f"FLOPs counted by a pass on the CPU, meta tensors failed: {reason}", stacklevel=2)
        seen, analytic = _pass(copy.deepcopy(model).cpu().float().eval(), image)
    return Count(parameters, (seen + analytic) / 1e9, analytic / 1e9)


def _pass(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """FLOPs of one forward: what torch saw outside our blocks, and what the blocks say of themselves."""
    blocks = _Blocks()
    for module in model.modules():
        if callable(getattr(module, "flops", None)):
            module.register_forward_pre_hook(blocks.enter)
            module.register_forward_hook(blocks.leave)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        blocks.counter = counter
        model(image)
        return counter.get_total_flops() - blocks.seen, blocks.analytic


class _Blocks:
    """Forward hooks that add up over a block's calls its analytic FLOPs, and what torch saw inside it."""

    def __init__(self) -> None:
        self.counter: FlopCounterMode
        self.analytic = 0
        self.seen = 0
        self._depth = 0
        self._before = 0

    def enter(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        if self._depth == 0:
            height, width = inputs[0].shape[-2:]
            self.analytic += int(module.flops(height, width))
            self._before = self.counter.get_total_flops()
        self._depth += 1

    def leave(self, module: Any, inputs: tuple[Tensor, ...], output: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seen += self.counter.get_total_flops() - self._before


def _hollow_copy(model: nn.Module) -> nn.Module:
    """An eval copy with float32 parameters and buffers on meta; tensors that are mere attributes stay real.

    A detection head's strides are such an attribute, and building its anchors reads them by ``item()``.
    """
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {id(tensor): _hollow(tensor) for tensor in tensors}
    return copy.deepcopy(model, memo).eval()


def _hollow_copy_with_attributes(model: nn.Module) -> nn.Module:
    """All on meta that moves with the model: for a head that kept its anchors from an earlier forward."""
    return _hollow_copy(model).to("meta")


def _hollow(tensor: Tensor) -> Tensor:
    """Its shape without its numbers, which a deep copy would only carry around."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
