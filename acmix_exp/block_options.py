"""What each block may be told: its options' rules and what it asks of the channels at its sites.

One table for the command line, which refuses a wrong option before the first job. Floor 0: nothing here imports torch.
To add a block: its rules here, its file in ``nn/``, its line in ``nn/__init__.py``, its page ``conf/block/NAME.yaml``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from acmix_exp.config import PATHS
from acmix_exp.idle_options import idle_faults
from acmix_exp.option_rules import (
    GROUPS,
    HEADS,
    Channels,
    Rules,
    Together,
    choice,
    divides,
    fraction,
    odd,
    positive,
    switch,
    unless_null,
    whole,
)

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
