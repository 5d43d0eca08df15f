"""Blocks by name: the shipped ones of ``acmix_exp.block_rules``, those registered from Python, and users' classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from acmix_exp.block_rules import RULES, with_defaults
from acmix_exp.nn.custom import build_custom_block
from acmix_exp.ops.checks import check_choice, check_positive
from acmix_exp.slot_rules import SLOT_RULES

Factory = Callable[..., nn.Module]
_registered: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make a block known to :func:`build_block`; the command line knows those of ``acmix_exp.block_rules`` alone.

    ``factory(channels, **options)`` returns a module that keeps the shape of its input, (B, C, H, W).

    Raises ValueError if the name belongs to a shipped block or to another factory.
    """
    if name in RULES or _registered.get(name, factory) is not factory:
        raise ValueError(f"a block named {name!r} is registered already")
    _registered[name] = factory


def block_names() -> list[str]:
    """The names that :func:`build_block` knows, but for blocks from a library that is an extra."""
    return sorted({*(name for name, rules in RULES.items() if not (rules.library or rules.slot)), *_registered})


def build_block(name: str, channels: int, **options: Any) -> nn.Module:
    """The block ``name`` for maps (B, ``channels``, H, W), with the default of each option that is not given.

    Options that the chosen ``form`` does not use are ignored. With the option ``target``, MODULE.CLASS, the block is
    that class and ``name`` is ignored.

    Raises ValueError, in one line, for an unknown name, an unknown option, or a value that the block refuses.
    """
    if options.get("target") is not None:
        return build_custom_block(channels, **options)
    if name in _registered:
        factory = _registered[name]
        _check_options(name, options, list(inspect.signature(factory).parameters)[1:])
        check_positive(channels=channels)
        return factory(channels, **options)
    check_choice("block", name, sorted({*(key for key, rules in RULES.items() if not rules.slot), *_registered}))
    rules = RULES[name]
    if not rules.library:
        _check_options(name, options, rules.options)
    check_positive(channels=channels)
    factory = _factory(name)
    options = with_defaults(name, options)
    if "form" in options:
        form = options.pop("form")
        check_choice("form", form, factory)
        factory = factory[form]
        for key, option in rules.options.items():
            if form not in option.used_with.get("form", (form,)):
                del options[key]
    return factory(channels, **options)


def build_slot_block(name: str, inputs: Sequence[int], channels: int, **options: Any) -> nn.Module:
    """The block ``name`` of a slot of its own (``acmix_exp.slot_rules``), with the default of each option not given.

    inputs: channels of the maps that it takes; of an upsampling the one, of a loss none. channels: of its result.

    Raises ValueError as :func:`build_block`, and if the block cannot give that many channels.
    """
    check_choice("block", name, sorted(SLOT_RULES))
    rules = SLOT_RULES[name]
    slot = str(rules.slot)
    _check_options(name, options, rules.options)
    if slot != "loss":
        for width in (*inputs, channels):
            check_positive(channels=width)
    if inputs and slot in ("up", "fuse") and sum(inputs) != channels:
        raise ValueError(f"channels must be {sum(inputs)}, that of the maps that {name} takes, got {channels}")
    options = with_defaults(name, options)
    shapes = {"down": [*inputs, channels], "up": [channels], "fuse": [len(inputs)], "loss": []}
    made: nn.Module = _factory(name)(*shapes[slot], **options)
    return made


def _factory(name: str) -> Any:
    module, _, attribute = RULES[name].target.rpartition(".")
    return getattr(import_module(f"acmix_exp.nn.{module}"), attribute)


def _check_options(name: str, options: Iterable[str], known: Iterable[str]) -> None:
    for option in options:
        if option not in known:
            raise ValueError(f"block {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
