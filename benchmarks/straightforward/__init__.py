"""The blocks in straightforward form: the formulas of their publications, step by step, on the same weights.

``straightforward(block)`` is the reference of the tests and of the timings. One file per block has
``FORWARDS = {class of acmix_exp.nn: forward(module, x)}``. Every multiply-add that a block counts in ``flops`` is a
convolution or a matrix product here, so that torch's FlopCounterMode counts it.
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
    """The straightforward forward pass of each class that has one."""
    by_class: dict[type[nn.Module], Forward] = {}
    for file in pkgutil.iter_modules(__path__):
        by_class.update(import_module(f"{__name__}.{file.name}").FORWARDS)
    return by_class


def straightforward(block: nn.Module) -> nn.Module:
    """A deep copy of the block in which every module that has a straightforward form runs it."""
    by_class = forwards()
    copied = copy.deepcopy(block)
    for module in copied.modules():
        if type(module) in by_class:
            module.forward = MethodType(by_class[type(module)], module)  # type: ignore[method-assign]
    return copied
