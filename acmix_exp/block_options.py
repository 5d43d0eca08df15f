"""What an option of a block is: its default, the values it takes, its meaning; and conditions on several of them.

block_rules.py states the options of the blocks with it, slot_rules.py those of the blocks of other slots. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """One option of a block.

    ``allowed`` follows the words "must be"; a default of None allows null too. ``used_with`` gives the values of other
    options with which this one has an effect; with any other value it must keep its default.
    """

    default: Any
    meaning: str
    allowed: str
    accepts: Callable[[Any], bool]
    used_with: Mapping[str, tuple[Any, ...]]
    choices: Sequence[Any] = ()


def _option(allowed: str, accepts: Callable[[Any], bool], default: Any, meaning: str, **used_with: Any) -> Option:
    values = {key: value if isinstance(value, tuple) else (value,) for key, value in used_with.items()}
    if default is None:
        return Option(None, meaning, f"{allowed}, or null", lambda value: value is None or accepts(value), values)
    return Option(default, meaning, allowed, accepts, values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


whole = partial(_option, "a whole number from 1", lambda value: type(value) is int and value >= 1)
odd = partial(_option, "an odd number from 1", lambda value: type(value) is int and value >= 1 and value % 2 == 1)
positive = partial(_option, "a number above 0", lambda value: _is_number(value) and 0 < value < float("inf"))
number = partial(_option, "a number from 0", lambda value: _is_number(value) and 0 <= value < float("inf"))
fraction = partial(_option, "a number from 0, below 1", lambda value: _is_number(value) and 0 <= value < 1)
switch = partial(_option, "true or false", lambda value: type(value) is bool)


def choice(default: Any, values: Sequence[Any], meaning: str, **used_with: Any) -> Option:
    def accepts(value: Any) -> bool:
        return type(value) is type(default) and value in values

    option = _option(f"one of {', '.join(map(str, values))}", accepts, default, meaning, **used_with)
    return replace(option, choices=values)


@dataclass(frozen=True)
class Constraint:
    """A condition on the options of a block and, unless ``at_sites`` is false, on the channels of each site.

    ``must`` follows the word "must" in a message that names the option ``key``, or the block if ``key`` is None.
    ``holds`` takes the channels and all options.
    """

    key: str | None
    must: str
    holds: Callable[[int, Options], bool]
    at_sites: bool = True


class Block:
    """A block: MODULE.NAME below ``acmix_exp.nn`` of what builds it (or of a table of that by form), what it is in one
    sentence, its options, and the constraints on them.
    """

    library: str | None = None
    slot: str | None = None  # None: any place that takes a map and gives one of the same shape

    def __init__(self, target: str, title: str, *constraints: Constraint, **options: Option) -> None:
        self.target, self.title, self.constraints, self.options = target, title, constraints, options


class SlotBlock(Block):
    """A block of a slot of its own, the ``mode`` of a placement, in place of what stands there in the stock network."""

    def __init__(self, slot: str, target: str, title: str, *constraints: Constraint, **options: Option) -> None:
        super().__init__(target, title, *constraints, **options)
        self.slot = slot


class LibraryBlock(Block):
    """A block from the package ``library``, an extra of that name. Further options are passed to it, and only building
    the block tells whether they are right.
    """

    def __init__(self, library: str, target: str, title: str, **options: Option) -> None:
        super().__init__(target, title, **options)
        self.library = library
