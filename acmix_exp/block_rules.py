"""The options of every block: defaults, allowed values, meaning and constraints, stated here and nowhere else.

``python -m scripts.block_options`` writes ``conf/block/*.yaml`` and the table of options in docs/blocks.md from
``RULES``. The command line is checked against it before the first job, and ``build_block`` takes its defaults from it.
This module does not import torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from acmix_exp.block_options import (
    Block,
    Constraint,
    LibraryBlock,
    Options,
    choice,
    fraction,
    odd,
    positive,
    switch,
    whole,
)
from acmix_exp.slot_rules import SLOT_RULES

FORMS = ("unit", "residual", "block")
MATCHES = ("parameters", "flops")  # of arm.match
PATHS = ("conv", "attention", "mixed")
BACKENDS = ("auto", "reference", "shift", "tile", "triton")
HEAD_DIM = 32


def count_heads(channels: int, num_heads: int | None) -> int:
    """``num_heads``, or if it is None the divisor of ``channels`` whose heads are nearest to 32 channels, by ratio.

    Of two equally near divisors, the larger. Raises ValueError unless ``num_heads`` divides ``channels``.
    """
    if num_heads is None:
        divisors = (n for n in range(channels, 0, -1) if channels % n == 0)
        return min(divisors, key=lambda n: max(channels / n / HEAD_DIM, HEAD_DIM * n / channels))
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"num_heads must divide the {channels} channels, got {num_heads}")
    return num_heads


def count_groups(heads: int, num_groups: int | None) -> int:
    """``num_groups``, or if it is None the largest divisor of ``heads`` up to half of them.

    Raises ValueError unless ``num_groups`` divides ``heads``.
    """
    if num_groups is None:
        return next(n for n in range(max(1, heads // 2), 0, -1) if heads % n == 0)
    if num_groups < 1 or heads % num_groups:
        raise ValueError(f"num_groups must divide the {heads} heads, got {num_groups}")
    return num_groups


def _divides(key: str) -> Constraint:
    return Constraint(key, "divide the channels of every site", lambda n, options: n % (options[key] or 1) == 0)


def _at_most_channels(key: str) -> Constraint:
    return Constraint(key, "be at most the channels of a site", lambda n, options: (options[key] or 1) <= n)


def _groups_divide_heads(channels: int, options: Options) -> bool:
    if channels % (options["num_heads"] or 1):
        return True  # reported by the constraint on num_heads
    return count_heads(channels, options["num_heads"]) % (options["num_groups"] or 1) == 0


def _even_overlap(_: int, options: Options) -> bool:
    overlap = int(options["window_size"] * options["overlap_ratio"])
    return options["form"] not in ("group", "overlapping") or overlap % 2 == 0


def _has_values(_: int, options: Options) -> bool:
    return int(options["attn_ratio"] * options["key_dim"]) >= 1


HEADS = _divides("num_heads")
EVEN = Constraint(None, "sit at sites with an even number of channels", lambda n, options: n % 2 == 0)
FROM_8 = Constraint(None, "sit at sites with 8 channels or more", lambda n, options: n >= 8)
MLP = Constraint("mlp_ratio", "give the MLP at least one channel", lambda n, values: int(n * values["mlp_ratio"]) >= 1)

NUM_HEADS = "attention heads; null: heads of about 32 channels"
MLP_RATIO = "hidden channels of the MLP, as a multiple of the site's channels"
DROP_PATH = "share of samples in training for which a branch is skipped"
SHORTCUT = "unit: as published, starts {}; residual: with a shortcut"
SHRINKS = "unit: without a shortcut, shrinks its input at initialisation; residual: with {}; block: with {} too"
VAN_FORM = choice("residual", FORMS, SHRINKS.format("projections and shortcut", "norms and MLP"))
VAN_OPTIONS = {"mlp_ratio": positive(4.0, MLP_RATIO, form="block"), "drop_path": fraction(0.0, DROP_PATH, form="block")}
# timm's names of its layers that keep the size of any map. halo and bat split maps into equal parts, and bottleneck has
# position biases of one size, so they fail on the maps of an image that is not square.
TIMM_LAYERS = (
    *("se", "ese", "eca", "ecam", "ceca", "ge", "gc", "gca", "cbam", "lcbam", "coord", "scoord", "ela", "strip"),
    *("sk", "splat", "lambda", "nl"),
)
HAT_WINDOWS = ("group", "hybrid", "overlapping")
HAT_CONV = ("group", "hybrid", "channel")

RULES = {
    "acmix": Block(
        "acmix.acmix",
        "ACmix (CVPR 2022): windowed attention and convolution share their query, key and value projections.",
        _divides("head"),
        kernel_att=odd(7, "side of the attention window in pixels"),
        head=whole(4, "attention heads; head is the published name, as num_heads is in the other blocks"),
        kernel_conv=odd(3, "side of the convolution kernel in pixels"),
        path=choice("mixed", PATHS, "branches in use; the arms conv, attention and mixed set it themselves"),
        backend=choice("auto", BACKENDS, "implementation of the attention; triton needs a CUDA GPU"),
    ),
    "coordinate_attention": Block(
        "coordinate_attention.CoordinateAttention",
        "Coordinate attention (CVPR 2021): the means of rows and columns gate the map.",
        reduction=whole(32, "factor by which the gate narrows the map, to 8 channels or more"),
    ),
    "deformable_attention": Block(
        "deformable_attention.BY_FORM",
        "Deformable attention (DAT, CVPR 2022; DAT++): pixels attend to a coarse grid of points with learned offsets.",
        HEADS,
        Constraint("num_groups", "divide the heads at every site", _groups_divide_heads),
        MLP,
        form=choice("residual", FORMS, SHRINKS.format("layer norm and shortcut", "an MLP")),
        num_heads=whole(None, NUM_HEADS),
        num_groups=whole(None, "groups of channels with offsets of their own; null: half the heads", offsets=True),
        stride=whole(2, "pixels per point along each side: 4 suits P3, 2 P4, 1 P5 (H x W x points logits per head)"),
        kernel_size=whole(5, "kernel that predicts the offsets: 7 to 9 suits P3, 5 P4, 3 P5", offsets=True),
        offset_range=positive(None, "largest offset in points of the grid; null: anywhere on the map", offsets=True),
        position=choice(
            "table",
            ("table", "depthwise", "log", "none"),
            "bias for relative positions; log needs by far the most memory",
            offsets=True,
        ),
        query_size=whole(
            20, "side of the map that the table is made for; other maps sample it", offsets=True, position="table"
        ),
        offsets=switch(True, "false: average pooling instead of moved points"),
        mlp_ratio=positive(4.0, MLP_RATIO, form="block"),
        drop_path=fraction(0.0, DROP_PATH, form=("residual", "block")),
    ),
    "dlka": Block(
        "dlka.BY_FORM",
        "Deformable large kernel attention (WACV 2024): two depthwise convolutions with learned offsets gate the map.",
        MLP,
        form=VAN_FORM,
        offsets=choice(
            "dense", ("dense", "light"), "dense: predicted by a k x k convolution; light: by a 1x1 and a depthwise 3x3"
        ),
        zero_offsets=switch(False, "start with zero offsets, as a plain dilated convolution (not published)"),
        max_offset=positive(None, "largest offset in pixels (not published); null: no limit"),
        **VAN_OPTIONS,
    ),
    "ema": Block(
        "ema.BY_FORM",
        "Efficient multi-scale attention (ICASSP 2023): in each group two branches weight each other's maps.",
        _divides("factor"),
        form=choice("residual", FORMS[:2], SHORTCUT.format("at half its input")),
        factor=whole(8, "groups of channels; published: 32"),
    ),
    "gam": Block(
        "gam.GlobalAttention",
        "Global attention (GAM, arXiv 2112.05561): an MLP over channels, then two large convolutions, gate the map.",
        reduction=whole(
            4, "factor by which both gates narrow the map; 4 is in common use, the paper's is that of BAM, 16"
        ),
        kernel_size=odd(7, "side of the convolutions"),
    ),
    "hat": Block(
        "hat.BY_FORM",
        "Hybrid attention (HAT, CVPR 2023): shifted windows, overlapping windows and channel attention in one group.",
        Constraint(
            "overlap_ratio",
            "add an even number of pixels, window_size x overlap_ratio, to the window",
            _even_overlap,
            False,
        ),
        HEADS,
        _at_most_channels("compress_ratio"),
        _at_most_channels("squeeze_factor"),
        MLP,
        form=choice("group", ("group", "hybrid", "overlapping", "channel"), "the whole group, or one of its parts"),
        depth=whole(2, "hybrid blocks before the overlapping one, every second with shifted windows", form="group"),
        num_heads=whole(None, NUM_HEADS, form=HAT_WINDOWS),
        window_size=whole(8, "side of the windows in pixels; maps are extended to whole windows", form=HAT_WINDOWS),
        overlap_ratio=positive(
            0.5,
            "pixels that an overlapping window sees beyond its own, as a multiple of window_size",
            form=("group", "overlapping"),
        ),
        compress_ratio=whole(3, "factor by which the channel attention's convolutions narrow the map", form=HAT_CONV),
        squeeze_factor=whole(
            None, "factor by which its gate narrows the map; null: 30, at most a quarter of the channels", form=HAT_CONV
        ),
        conv_scale=positive(0.01, "weight of the channel attention", form=("group", "hybrid")),
        mlp_ratio=positive(2.0, MLP_RATIO, form=HAT_WINDOWS),
        drop_path=fraction(0.0, DROP_PATH, form=HAT_WINDOWS),
    ),
    "lsk": Block(
        "lsk.BY_FORM",
        "Large selective kernel (LSKNet, ICCV 2023): two large depthwise kernels, weighted per pixel, gate the map.",
        MLP,
        form=VAN_FORM,
        **VAN_OPTIONS,
    ),
    "lska": Block(
        "lska.BY_FORM",
        "Large separable kernel attention (ESWA 2024): depthwise strips along rows and columns gate the map.",
        MLP,
        form=VAN_FORM,
        kernel_size=choice(23, (7, 11, 23, 35, 41, 53), "pixels that the gate sees; from 35 more than a P5 map has"),
        **VAN_OPTIONS,
    ),
    "mlca": Block(
        "mlca.MLCA",
        "Mixed local channel attention (MLCA, EAAI 2023): the means of a few areas, and of the map, gate each channel.",
        local_size=whole(5, "areas along each side of the map"),
        kernel_size=odd(None, "of the 1-D convolutions along the channels; null: by the channels, as in ECA"),
        local_weight=fraction(0.5, "share of the areas in the gate; the rest is the map's"),
    ),
    "pconv": Block(
        "pconv.PConv",
        "Partial convolution (FasterNet, CVPR 2023): the first channels are convolved, the others pass.",
        _divides("n_div"),
        n_div=whole(4, "divides the channels into those that are convolved; 1: all"),
        kernel_size=odd(3, "side of the convolution"),
    ),
    "polarized_parallel": Block(
        "polarized_self_attention.PARALLEL",
        "Polarized self-attention, parallel (arXiv 2107.00782): channel mask plus pixel mask of the same map.",
        EVEN,
        form=choice("unit", FORMS[:2], SHORTCUT.format("close to the identity")),
    ),
    "polarized_sequential": Block(
        "polarized_self_attention.SEQUENTIAL",
        "Polarized self-attention, sequential (arXiv 2107.00782): channel mask, then pixel mask of the result.",
        EVEN,
        FROM_8,
        form=choice("residual", FORMS[:2], SHORTCUT.format("at a quarter of its input")),
    ),
    "rfaconv": Block(
        "rfaconv.RFAConv",
        "Receptive-field attention (RFAConv, arXiv 2304.03198): a convolution whose taps are weighted at every pixel.",
        kernel_size=odd(3, "side of the convolution; it makes the map kernel_size^2 times as large inside"),
    ),
    "sea_attention": Block(
        "sea_attention.BY_FORM",
        "Squeeze-enhanced axial attention (SeaFormer, ICLR 2023): attention along both axes gates a convolution.",
        Constraint("attn_ratio", "give a head at least one value channel, attn_ratio x key_dim", _has_values, False),
        MLP,
        form=choice("residual", FORMS, SHORTCUT.format("with its gate at 1/2") + "; block: with an MLP too"),
        key_dim=whole(16, "channels of a head's queries and keys"),
        num_heads=whole(4, "attention heads"),
        attn_ratio=positive(2.0, "channels of a head's values, as a multiple of key_dim"),
        mlp_ratio=positive(4.0, MLP_RATIO, form="block"),
        activation=choice("ReLU6", ("ReLU6", "ReLU", "GELU", "SiLU", "Hardswish"), "activation function"),
        drop_path=fraction(0.0, DROP_PATH, form="block"),
    ),
    "simam": Block(
        "simam.SimAM",
        "SimAM (ICML 2021): a gate without parameters, from how far each pixel is from its channel's mean.",
        e_lambda=positive(1e-4, "added to the variance of a channel"),
    ),
    "timm": LibraryBlock(
        "timm",
        "timm_layers.timm_layer",
        "An attention layer of timm: further options, as block.rd_ratio=0.25, go to timm's class.",
        layer=choice("se", TIMM_LAYERS, "timm's name of the layer"),
    ),
    "triplet_attention": Block(
        "triplet_attention.TripletAttention",
        "Triplet attention (WACV 2021): three gates, each across two of channels, rows and columns.",
        kernel_size=odd(7, "side of the convolutions"),
    ),
    "wtconv": Block(
        "wtconv.WTConv",
        "Wavelet convolution (WTConv, ECCV 2024): small depthwise kernels on the bands of a Haar transform.",
        kernel_size=odd(5, "side of the convolutions"),
        levels=whole(3, "of the transform, each with twice the reach; published: 5 for large maps to 2 for small ones"),
    ),
    "conv3x3": Block("controls.Conv3x3", "A plain 3x3 convolution: the control for capacity (arm=conv3x3)."),
    "conv3x3_matched": Block(
        "controls.Conv3x3Matched",
        "A 3x3 convolution to fewer channels and a 1x1 back: the control for a block's size (arm=conv3x3_matched).",
        hidden=whole(
            None, "channels between the two; null: half the site's; the arm sets it at each site, by the block there"
        ),
    ),
    "join": Block("controls.Join", "Its input, unchanged, but joined as a block is: the control for that (arm=join)."),
    "identity": Block("controls.Identity", "Its input, unchanged: the control for the harness (arm=identity)."),
    **SLOT_RULES,
}


def has_position_table(name: str, options: Options) -> bool:
    """Whether the block learns a table of positions, which the optimizer treats as no weight and no bias."""
    values = with_defaults(name, options)
    if name == "deformable_attention":
        return bool(values["offsets"]) and values["position"] == "table"
    return name == "sea_attention" or (name == "hat" and values["form"] in HAT_WINDOWS)


def missing_library(block: Options) -> str | None:
    """The extra that the config ``block`` needs and that is not installed; None if nothing is missing."""
    rules = RULES.get(str(block.get("name")))
    if rules is None or rules.library is None:
        return None
    spec = find_spec(rules.library)
    return rules.library if spec is None or spec.origin is None else None  # a folder of that name has no origin


def library_faults(block: Options) -> list[str]:
    """A line if what :func:`missing_library` says is missing."""
    library = missing_library(block)
    name = block.get("name")
    return [f"block={name}: {library} is not installed; pip install 'acmix_exp[{library}]'"] if library else []


def option_faults(name: str, options: Options) -> list[str]:
    """A line for each of the given ``options`` that block ``name`` lacks, refuses or does not use."""
    known = RULES[name].options
    lines = []
    for key, value in options.items():
        if key not in known:
            if RULES[name].library:
                continue
            lines.append(f"block.{key}={value}: unknown key{suggestion(key, known, 'block.')}")
        elif not known[key].accepts(value):
            lines.append(f"block.{key}={value}: must be {known[key].allowed}")
    if lines:
        return lines
    values = with_defaults(name, options)
    return _unused(name, values) or [
        f"block.{rule.key}={values[rule.key]}: must {rule.must}"
        for rule in RULES[name].constraints
        if rule.key and not rule.at_sites and not rule.holds(0, values)
    ]


def _unused(name: str, values: Options) -> list[str]:
    """A line for each option that is not at its default although other options leave it without effect."""
    lines = []
    for key, option in RULES[name].options.items():
        blockers = (other for other, used in option.used_with.items() if values[other] not in used)
        if values[key] != option.default and (other := next(blockers, None)):
            cure = " or ".join(f"block.{other}={shown(value)}" for value in option.used_with[other])
            lines.append(
                f"block.{key}={shown(values[key])}: has no effect with block.{other}={shown(values[other])}; "
                f"must be left out, or be used with {cure}"
            )
    return lines


def channel_faults(name: str, options: Options, sites: Mapping[str, int], scale: str) -> list[str]:
    """A line for each constraint broken at ``sites``, {site: channels}; the options must have passed option_faults."""
    values = with_defaults(name, options)
    lines = []
    for rule in RULES[name].constraints:
        broken = [f"{site} has {channels}" for site, channels in sites.items() if not rule.holds(channels, values)]
        if broken:
            subject = f"block={name}" if rule.key is None else f"block.{rule.key}={values[rule.key]}"
            lines.append(f"{subject}: must {rule.must}; at scale {scale} {', '.join(broken)}")
    return lines


def with_defaults(name: str, options: Options) -> dict[str, Any]:
    """All options of the block: those given, and the defaults of the others."""
    return {**{key: option.default for key, option in RULES[name].options.items()}, **options}


def shown(value: Any) -> str:
    """A value as YAML and the command line spell it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def suggestion(key: str, known: Iterable[str], prefix: str = "") -> str:
    """The nearest known key, or all of them."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known here: {', '.join(sorted(known)) or 'none'}"
