"""Which figures there are, with their words. No matplotlib: the page reads this too."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """``vector``: lines and text, shown on the page as SVG; else photographs."""

    name: str
    title: str
    caption: str
    vector: bool
    share: int  # which of the two drawing processes takes it


KINDS = (
    Kind(
        "forest",
        "Paired differences to the reference",
        "Each stroke is one seed, the symbol the mean, the bar the 95 % paired t interval over seeds; above it, "
        "dashed, the 95 % interval over resampled test images where outcomes were kept. The verdict rests on the "
        "Holm-adjusted sign-flip p value over seeds.",
        True,
        0,
    ),
    Kind(
        "learning_curves",
        "Learning curves",
        "mAP50-95 on val after every epoch: a thin line a seed, the thick one their mean.",
        True,
        0,
    ),
    Kind(
        "latency",
        "Accuracy against latency",
        "Headline mAP50-95 (large symbol: mean with one standard deviation, small ones: seeds) over the milliseconds "
        "of one image at batch 1. Times of different machines are never averaged.",
        True,
        0,
    ),
    Kind(
        "rates",
        "The rates of every ACmix over the epochs",
        "rate1 scales the attention branch, rate2 the convolution branch; a line a seed.",
        True,
        0,
    ),
    Kind(
        "rate_ratio",
        "Attention against convolution, by depth",
        "Natural logarithm of |rate1 / rate2| after the last epoch, from the input to the output of the network: above "
        "zero attention outweighs convolution. Dots are seeds, the line their mean. The publication's own figure.",
        True,
        0,
    ),
    Kind(
        "class_deltas",
        "Differences class by class",
        "Mean paired difference to the reference with its 95 % t interval, not adjusted for the number of classes: it "
        "shows where a difference comes from and is no claim by itself.",
        True,
        0,
    ),
    Kind(
        "predictions",
        "The same images for every arm",
        "Ground truth, then each arm's predictions of confidence 0.25 or more, of one seed. The images are spread "
        "evenly over the split and the same in every run.",
        False,
        1,
    ),
    Kind(
        "windows",
        "Where attention looks",
        "Softmax weights of the attention window, mean over the heads, laid over the image at each query point (blue "
        "dot). Below each: the largest weight of a cell, and what looking evenly would give that cell.",
        False,
        1,
    ),
    Kind(
        "heads",
        "Head by head",
        "The same windows, each head for itself, at the first query point.",
        False,
        1,
    ),
)
BY_NAME = {kind.name: kind for kind in KINDS}


def file_stem(name: str, label: str, table: int) -> str:
    """The file name of a figure; ``label`` is a row's or empty, ``table`` is 0 where there is only one."""
    parts = [name, re.sub(r"[^A-Za-z0-9.=_-]+", "-", label).strip("-.") if label else "", str(table) if table else ""]
    return "-".join(filter(None, parts))


def describe(name: str, label: str, table: dict[str, Any]) -> str:
    """What a figure shows, in words, for those who don't see it."""
    kind = BY_NAME[name]
    text = kind.title + (f", {label}" if label else "") + "."
    if name == "forest":
        for row in table["rows"]:
            summary = row["summary"]
            if row["deltas"]:
                low, high = summary["delta_low"], summary["delta_high"]
                interval = f", 95 % interval {low:+.3f} to {high:+.3f}" if low is not None else ""
                text += f" {row['label']}: {summary['delta_mean']:+.3f}{interval}, {summary['verdict']}."
    elif name == "learning_curves":
        for row in table["rows"]:
            if row["summary"]["map50_95_mean"] is not None:
                text += f" {row['label']} ends at a headline of {row['summary']['map50_95_mean']:.3f}."
    return text
