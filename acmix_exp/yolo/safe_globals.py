"""Our classes on torch's allow-list, for ultralytics' restricted loading (ULTRALYTICS_SAFE_LOAD=1)."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

import torch
from torch import nn
from torchvision.models import mobilenetv3
from torchvision.ops import StochasticDepth, misc

import acmix_exp.nn
from acmix_exp import moved
from acmix_exp.yolo import model, wrap


def register(target: str | None = None) -> None:
    """Allow the network, its wrappers, every block of ``acmix_exp.nn`` and what they take of torchvision for good.

    ``target``: a block from outside the package, ``MODULE.CLASS``; what its module defines is allowed too.
    """
    names = [found.name for found in pkgutil.walk_packages(acmix_exp.nn.__path__, "acmix_exp.nn.")]
    blocks = [import_module(name) for name in (*names, *([target.rpartition(".")[0]] if target else []))]
    modules = (model, wrap, *blocks, mobilenetv3, misc)
    found = [found for module in modules for found in _own_modules(module)]
    by_old_path = [
        (kept, f"{old}.{kept.__name__}")
        for old, new in moved.MODULES.items()
        for kept in found
        if kept.__module__ == new
    ]
    torch.serialization.add_safe_globals([*found, *by_old_path, StochasticDepth])


def _own_modules(module: ModuleType) -> list[type[nn.Module]]:
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == module.__name__
    ]
