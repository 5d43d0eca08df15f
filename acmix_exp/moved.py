"""Old import paths of classes, so that checkpoints written by version 0.1 still open.

A checkpoint pickles its classes by module path. Importing this package puts one small alias module per old path into
``sys.modules``; the new module is imported only when a checkpoint asks for one of its classes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_DEFORMABLE, _HAT, _HAT_ATTENTION, _LAYERS = (
    f"acmix_exp.nn.{name}" for name in ("deformable_attention", "hat", "hat_attention", "layers")
)
MODULES = {
    "acmix_exp.nn.residual": _LAYERS,
    "acmix_exp.nn.layer_norm": _LAYERS,
    "acmix_exp.nn.conv_bn": _LAYERS,
    "acmix_exp.nn.axial_position": _LAYERS,
    "acmix_exp.nn.deformable_attention.bias": _DEFORMABLE,
    "acmix_exp.nn.deformable_attention.block": _DEFORMABLE,
    "acmix_exp.nn.deformable_attention.unit": _DEFORMABLE,
    "acmix_exp.nn.hat.group": _HAT,
    "acmix_exp.nn.hat.hybrid": _HAT,
    "acmix_exp.nn.hat.channel": _HAT_ATTENTION,
    "acmix_exp.nn.hat.overlapping": _HAT_ATTENTION,
    "acmix_exp.nn.hat.token_mlp": _HAT_ATTENTION,
    "acmix_exp.nn.hat.windows": _HAT_ATTENTION,
    "acmix_exp.nn.conv3x3": "acmix_exp.nn.controls",
    "acmix_exp.nn.identity": "acmix_exp.nn.controls",
    "acmix_exp.nn.own_block": "acmix_exp.nn.custom",
}


class _Alias(ModuleType):
    """A module that looks its names up in the module that replaced it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(MODULES[self.__name__]), name)


def install() -> None:
    """Make every old path importable, without importing any module of ``nn``."""
    for old in MODULES:
        sys.modules.setdefault(old, _Alias(old))
