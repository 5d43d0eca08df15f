"""Register the classes of this package for the restricted loading of ultralytics (ULTRALYTICS_SAFE_LOAD=1)."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import torch
from torch import nn
from torchvision.models import mobilenetv3
from torchvision.ops import StochasticDepth, misc

import acmix_exp.nn
from acmix_exp import moved
from acmix_exp.yolo import model, slot_wrap, wrap


def register(target: str | None = None) -> None:
    """Add the network, its wrappers, the blocks of ``acmix_exp.nn`` and their torchvision classes to the allow-list.

    ``target``: MODULE.CLASS of a custom block; every module class of its file is added too.
    """
    names = [info.name for info in pkgutil.walk_packages(acmix_exp.nn.__path__, "acmix_exp.nn.")]
    blocks = [import_module(name) for name in (*names, *([target.rpartition(".")[0]] if target else []))]
    modules = (model, wrap, slot_wrap, *blocks, mobilenetv3, misc)
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]
    by_old_path = [
        (cls, f"{old}.{cls.__name__}") for old, new in moved.MODULES.items() for cls in classes if cls.__module__ == new
    ]
    torch.serialization.add_safe_globals([*classes, *by_old_path, StochasticDepth])
