"""What each block may be told: its options' rules and what it asks of the channels at its sites.

One table for the command line, which refuses a wrong option before the first job. Floor 0: nothing here imports torch.
To add a block: its rules here, its file in ``nn/``, its line in ``nn/__init__.py``, its page ``conf/block/NAME.yaml``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acmix_exp.config import PATHS

BACKENDS = ("auto", "reference", "shift", "tile", "triton")


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


RULES: dict[str, Rules] = {
    "acmix": Rules(
        {
            "kernel_att": odd(7),
            "head": whole(4, extra=" that divides the channels of every site"),
            "kernel_conv": odd(3),
            "path": choice("mixed", *PATHS),
            "backend": choice("auto", *BACKENDS),
        },
        channels=[divides("head")],
    ),
}


def option_faults(name: str, options: Mapping[str, Any]) -> list[str]:
    """Lines for options that the block ``name`` does not have or that cannot be; its own name left out of them."""
    rules = RULES[name]
    lines = []
    for key, value in options.items():
        if key not in rules.options:
            lines.append(f"block.{key}={value}: unknown key{suggestion(key, rules.options, 'block.')}")
        elif not rules.options[key].fits(value):
            lines.append(f"block.{key}={value}: must be {rules.options[key].right}")
    if lines:
        return lines
    known = with_defaults(name, options)
    return [f"block.{rule.key}={known[rule.key]}: must {rule.right}" for rule in rules.together if not rule.fits(known)]


def channel_faults(name: str, options: Mapping[str, Any], sites: Mapping[str, int], scale: str) -> list[str]:
    """Lines for sites, given with their channels, that the block cannot sit at; options must have passed."""
    known = with_defaults(name, options)
    lines = []
    for rule in RULES[name].channels:
        bad = [f"{site} has {channels}" for site, channels in sites.items() if not rule.fits(channels, known)]
        if bad:
            blamed = f"block={name}" if rule.key is None else f"block.{rule.key}={known[rule.key]}"
            lines.append(f"{blamed}: must {rule.right}; at scale {scale} {', '.join(bad)}")
    return lines


def with_defaults(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: option.default for key, option in RULES[name].options.items()}, **options}


def suggestion(key: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known key, or all of them."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known here: {', '.join(sorted(known)) or 'none'}"
