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

HEAD_DIM = 32


def count_heads(channels: int, num_heads: int | None) -> int:
    """``num_heads``, or where it is None the divisor of ``channels`` whose heads are nearest to 32 channels, by ratio.

    Of two as near, the one with more heads. Raises ValueError unless ``num_heads`` divides ``channels``.
    """
    if num_heads is None:
        divisors = (n for n in range(channels, 0, -1) if channels % n == 0)
        return min(divisors, key=lambda n: max(channels / n / HEAD_DIM, HEAD_DIM * n / channels))
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"num_heads must divide the {channels} channels, got {num_heads}")
    return num_heads


def count_groups(heads: int, num_groups: int | None) -> int:
    """``num_groups``, or where it is None the largest divisor of ``heads`` up to half of them.

    Raises ValueError unless ``num_groups`` divides ``heads``.
    """
    if num_groups is None:
        return next(n for n in range(max(1, heads // 2), 0, -1) if heads % n == 0)
    if num_groups < 1 or heads % num_groups:
        raise ValueError(f"num_groups must divide the {heads} heads, got {num_groups}")
    return num_groups


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


@dataclass(frozen=True)
class UsedWith:
    """``keys`` are used where ``option`` has one of ``values``."""

    keys: tuple[str, ...]
    option: str
    values: tuple[Any, ...]


IN_BLOCK = UsedWith(("mlp_ratio", "drop_path"), "form", ("block",))

USED_WITH: dict[str, tuple[UsedWith, ...]] = {
    "deformable_attention": (
        UsedWith(("mlp_ratio",), "form", ("block",)),
        UsedWith(("drop_path",), "form", ("residual", "block")),
        UsedWith(("num_groups", "kernel_size", "offset_range", "position", "query_size"), "offsets", (True,)),
        UsedWith(("query_size",), "position", ("table",)),
    ),
    "dlka": (IN_BLOCK,),
    "hat": (
        UsedWith(("depth",), "form", ("group",)),
        UsedWith(("overlap_ratio",), "form", ("group", "overlapping")),
        UsedWith(("compress_ratio", "squeeze_factor"), "form", ("group", "hybrid", "channel")),
        UsedWith(("conv_scale",), "form", ("group", "hybrid")),
        UsedWith(("num_heads", "window_size", "mlp_ratio", "drop_path"), "form", ("group", "hybrid", "overlapping")),
    ),
    "lsk": (IN_BLOCK,),
    "lska": (IN_BLOCK,),
    "sea_attention": (IN_BLOCK,),
}


def idle_faults(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """A line for each of all ``options`` of the block that is not at its default and not used."""
    lines: dict[str, str] = {}
    for used in USED_WITH.get(name, ()):
        if options[used.option] in used.values:
            continue
        right = " or ".join(f"block.{used.option}={_shown(value)}" for value in used.values)
        for key in used.keys:
            if options[key] != defaults[key]:
                lines.setdefault(
                    key,
                    f"block.{key}={_shown(options[key])}: must be left out, or go with {right}; "
                    f"with block.{used.option}={_shown(options[used.option])} it does nothing",
                )
    return list(lines.values())


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


BACKENDS = ("auto", "reference", "shift", "tile", "triton")
FORMS = ("unit", "residual", "block")
EVEN = Channels(None, lambda channels, options: channels % 2 == 0, "sit where the number of channels is even")
MLP_HAS_CHANNELS = Channels(
    "mlp_ratio",
    lambda channels, options: int(channels * options["mlp_ratio"]) >= 1,
    "give the MLP at least one channel",
)


def _leaves_channels(key: str) -> Channels:
    return Channels(key, lambda channels, options: (options[key] or 1) <= channels, "be at most the channels of a site")


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
    "deformable_attention": Rules(
        {
            "form": choice("residual", *FORMS),
            "num_heads": unless_null(whole(1), "heads of about 32 channels"),
            "num_groups": unless_null(whole(1), "half the heads"),
            "stride": whole(2),
            "kernel_size": whole(5),
            "offset_range": unless_null(positive(1.0), "anywhere on the map"),
            "position": choice("table", "table", "depthwise", "log", "none"),
            "query_size": whole(20),
            "offsets": switch(True),
            "mlp_ratio": positive(4.0),
            "drop_path": fraction(0.0),
        },
        channels=[HEADS, GROUPS, MLP_HAS_CHANNELS],
    ),
    "dlka": Rules(
        {
            "form": choice("residual", *FORMS),
            "offsets": choice("dense", "dense", "light"),
            "zero_offsets": switch(False),
            "max_offset": unless_null(positive(1.0), "no limit"),
            "mlp_ratio": positive(4.0),
            "drop_path": fraction(0.0),
        },
        channels=[MLP_HAS_CHANNELS],
    ),
    "ema": Rules(
        {
            "form": choice("residual", "unit", "residual"),
            "factor": whole(8, extra=" that divides the channels of every site"),
        },
        channels=[divides("factor")],
    ),
    "hat": Rules(
        {
            "form": choice("group", "group", "hybrid", "overlapping", "channel"),
            "depth": whole(2),
            "num_heads": unless_null(whole(1), "heads of about 32 channels"),
            "window_size": whole(8),
            "overlap_ratio": positive(0.5),
            "compress_ratio": whole(3),
            "squeeze_factor": unless_null(whole(1), "30, at most a quarter of the channels"),
            "conv_scale": positive(0.01),
            "mlp_ratio": positive(2.0),
            "drop_path": fraction(0.0),
        },
        [
            Together(
                "overlap_ratio",
                lambda options: (
                    options["form"] not in ("group", "overlapping")
                    or int(options["window_size"] * options["overlap_ratio"]) % 2 == 0
                ),
                "add an even number of pixels, window_size x overlap_ratio, to the window",
            )
        ],
        [HEADS, _leaves_channels("compress_ratio"), _leaves_channels("squeeze_factor"), MLP_HAS_CHANNELS],
    ),
    "lsk": Rules(
        {"form": choice("residual", *FORMS), "mlp_ratio": positive(4.0), "drop_path": fraction(0.0)},
        channels=[MLP_HAS_CHANNELS],
    ),
    "lska": Rules(
        {
            "form": choice("residual", *FORMS),
            "kernel_size": choice(23, 7, 11, 23, 35, 41, 53),
            "mlp_ratio": positive(4.0),
            "drop_path": fraction(0.0),
        },
        channels=[MLP_HAS_CHANNELS],
    ),
    "polarized_parallel": Rules({"form": choice("unit", "unit", "residual")}, channels=[EVEN]),
    "polarized_sequential": Rules(
        {"form": choice("residual", "unit", "residual")},
        channels=[
            EVEN,
            Channels(None, lambda channels, options: channels >= 8, "sit where there are 8 channels or more"),
        ],
    ),
    "sea_attention": Rules(
        {
            "form": choice("residual", *FORMS),
            "key_dim": whole(16),
            "num_heads": whole(4),
            "attn_ratio": positive(2.0),
            "mlp_ratio": positive(4.0),
            "activation": choice("ReLU6", "ReLU6", "ReLU", "GELU", "SiLU", "Hardswish"),
            "drop_path": fraction(0.0),
        },
        [
            Together(
                "attn_ratio",
                lambda options: int(options["attn_ratio"] * options["key_dim"]) >= 1,
                "give a head at least one value channel, attn_ratio x key_dim",
            )
        ],
        [MLP_HAS_CHANNELS],
    ),
    "conv3x3": Rules(),
    "identity": Rules(),
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
    return idle_faults(name, known, with_defaults(name, {})) or [
        f"block.{rule.key}={known[rule.key]}: must {rule.right}" for rule in rules.together if not rule.fits(known)
    ]


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
