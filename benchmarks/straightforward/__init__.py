"""Blocks in their straightforward form: the formulas of their publications step by step, on the block's own weights.

``straightforward(block)`` is the oracle of the tests and what the fast form is timed against. One file a block, with
``FORWARDS = {class of acmix_exp.nn: forward(module, x)}``. Every multiply-add of it that a block counts as an
operation is a convolution or a matrix product, so that torch's FlopCounterMode sees it.
"""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Callable
from importlib import import_module
from types import MethodType

from torch import Tensor, nn

Forward = Callable[[nn.Module, Tensor], Tensor]


def forwards() -> dict[type[nn.Module], Forward]:
    found: dict[type[nn.Module], Forward] = {}
    for file in pkgutil.iter_modules(__path__):
        found.update(import_module(f"{__name__}.{file.name}").FORWARDS)
    return found


def straightforward(block: nn.Module) -> nn.Module:
    """A deep copy in which every module of a class with a straightforward form runs that."""
    known = forwards()
    copied = copy.deepcopy(block)
    for module in copied.modules():
        if type(module) in known:
            module.forward = MethodType(known[type(module)], module)  # type: ignore[method-assign]
    return copied
