"""Blocks by name. To add one: its file in this room, one line in ``nn/__init__.py``, its rules in ``block_options``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from acmix_exp.nn.custom import build_custom_block
from acmix_exp.ops.checks import check_positive

Factory = Callable[..., nn.Module]
_factories: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make a block known: ``factory(channels, **options)`` gives a module that keeps the shape of its input.

    Raises ValueError where the name is taken by another factory.
    """
    if _factories.get(name, factory) is not factory:
        raise ValueError(f"a block named {name!r} is registered already")
    _factories[name] = factory


def block_names() -> list[str]:
    return sorted(_factories)


def build_block(name: str, channels: int, **options: Any) -> nn.Module:
    """A registered block with ``channels`` in and out; with the option ``target``, one from outside the package.

    Raises ValueError, in one line, for an unknown name, an option the block does not have, or what the block refuses.
    """
    if options.get("target") is not None:
        return build_custom_block(channels, **options)
    if name not in _factories:
        raise ValueError(f"block must be one of {', '.join(block_names())}, got {name!r}")
    factory = _factories[name]
    known = list(inspect.signature(factory).parameters)[1:]
    for option in options:
        if option not in known:
            raise ValueError(f"block {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
    check_positive("channels", channels)
    return factory(channels, **options)
