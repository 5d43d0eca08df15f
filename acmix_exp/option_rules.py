"""The parts a block's rules are made of: an option's test, what options owe each other, what is asked of channels.

Floor 0: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acmix_exp.head_count import count_heads


@dataclass(frozen=True)
class Option:
    """A value's test, what would be right in words that follow "must be", and the default."""

    default: Any
    fits: Callable[[Any], bool]
    right: str


@dataclass(frozen=True)
class Together:
    """What options owe each other. ``fits`` gets all options of the block; ``right`` follows "must"."""

    key: str
    fits: Callable[[Mapping[str, Any]], bool]
    right: str


@dataclass(frozen=True)
class Channels:
    """What the block asks of its channels. ``fits`` gets them and all options; ``right`` follows "must"; ``key`` is the
    option to blame, None for the block itself.
    """

    key: str | None
    fits: Callable[[int, Mapping[str, Any]], bool]
    right: str


@dataclass(frozen=True)
class Rules:
    options: Mapping[str, Option] = field(default_factory=dict)
    together: Sequence[Together] = ()
    channels: Sequence[Channels] = ()


def whole(default: int, least: int = 1, extra: str = "") -> Option:
    right = f"a whole number from {least}{extra}"
    return Option(default, lambda value: type(value) is int and value >= least, right)


def odd(default: int) -> Option:
    return Option(default, lambda value: type(value) is int and value >= 1 and value % 2 == 1, "an odd number from 1")


def positive(default: float) -> Option:
    return Option(default, lambda value: type(value) in (int, float) and 0 < value < float("inf"), "a number above 0")


def choice(default: Any, *values: Any) -> Option:
    def fits(value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in values)

    return Option(default, fits, f"one of {', '.join(map(str, values))}")


def switch(default: bool) -> Option:
    return Option(default, lambda value: type(value) is bool, "true or false")


def divides(key: str) -> Channels:
    return Channels(key, lambda channels, options: channels % options[key] == 0, "divide the channels of every site")


def fraction(default: float) -> Option:
    return Option(default, lambda value: type(value) in (int, float) and 0 <= value < 1, "a number from 0, below 1")


def unless_null(option: Option, meaning: str) -> Option:
    """``option``, or null, which stands for ``meaning`` and is the default."""
    return Option(None, lambda value: value is None or option.fits(value), f"{option.right}, or null for {meaning}")


def _heads_divide(channels: int, options: Mapping[str, Any]) -> bool:
    return channels % (options["num_heads"] or 1) == 0


def _groups_divide(channels: int, options: Mapping[str, Any]) -> bool:
    if not _heads_divide(channels, options):
        return True  # the heads are at fault
    return count_heads(channels, options["num_heads"]) % (options["num_groups"] or 1) == 0


HEADS = Channels("num_heads", _heads_divide, "divide the channels of every site")
GROUPS = Channels("num_groups", _groups_divide, "divide the heads at every site")
