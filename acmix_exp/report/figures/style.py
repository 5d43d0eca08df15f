"""The look of every figure: one palette, safe for colour-blind readers, in print and on light and dark pages."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from acmix_exp.report.records import Row

INK, RULE = "#1b1f24", "#d0d7de"
MUTED = "#6e7781"  # readable on both backgrounds
WIDTH = 5.0  # inches: still legible on a phone
LETTERS_PER_INCH = 14  # of a legend
LEGEND_LINE = 0.19  # inches

# Okabe and Ito's palette without its yellow; the usual arms keep their colour in every report.
ARMS = {
    "baseline": INK,
    "identity": MUTED,
    "join": "#cc79a7",
    "conv3x3": "#56b4e9",
    "conv3x3_matched": "#009e73",
    "conv": "#e69f00",
    "attention": "#0072b2",
    "mixed": "#d55e00",
}
OTHERS = ("#009e73", "#cc79a7", "#0072b2", "#d55e00", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 3)))


@dataclass(frozen=True)
class Drawing:
    """A figure with its words. ``caption`` also says what is left out; ``results`` are the numbers shown, in words.

    ``label``: the row that it is of, if there is one figure per row. ``vector``: lines and text, not photographs.
    """

    figure: Figure
    title: str
    caption: str
    results: str = ""
    label: str = ""
    vector: bool = True

    @property
    def is_wide(self) -> bool:
        """Whether it has the page's width, and is scrolled where a screen is narrower."""
        return float(self.figure.get_figwidth()) > WIDTH

    @property
    def description(self) -> str:
        """The text for those who cannot see the figure."""
        title = f"{self.title}, {self.label}." if self.label else f"{self.title}."
        return f"{title} {self.results}".strip()


@dataclass(frozen=True)
class Drawn:
    """A figure in its files ``stem``.png and .svg, or why it could not be drawn. ``table``: index of its table.

    Drawings that are not ``vector`` have no .svg.
    """

    table: int
    name: str
    drawing: Drawing | None = None
    stem: str | None = None
    error: str | None = None


class NoData(Exception):
    """A figure that is left out although runs have finished, and what they lack, in words."""


class Look(NamedTuple):
    colour: str
    marker: str
    line: Any


def subplots(
    rows: int = 1, columns: int = 1, *, height: float, width: float = WIDTH, **options: Any
) -> tuple[Figure, Any]:
    """A figure and the array [rows, columns] of its axes; outside of pyplot, so nothing has to be closed."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(
    titles: Sequence[str], columns: int, names: tuple[str, str], *, side: float, labels: tuple[float, float]
) -> tuple[Figure, list[Any]]:
    """A figure with a panel for each title, and their axes, row by row, which share their limits.

    names: of the x and the y axis. side: height of a panel in inches. labels: inches that their tick labels take, below
    and on the left. Everything is placed by these sizes: to measure texts would take longer than to draw them.
    """
    columns = min(columns, len(titles))
    lines = math.ceil(len(titles) / columns)
    titles = [_wrapped(title, 64 // columns) for title in titles]
    above = 0.1 + 0.155 * max(title.count("\n") + 1 for title in titles)
    gap = above + 0.08
    below, left = labels[0] + 0.28, labels[1] + 0.3
    height = lines * side + (lines - 1) * gap + above + below
    figure = Figure(figsize=(WIDTH, height), layout="none")  # type: ignore[arg-type]  # as its documentation names it
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    width = (WIDTH - left - 0.1 - 0.12 * (columns - 1)) / columns
    figure.subplots_adjust(
        left=left / WIDTH,
        right=1 - 0.1 / WIDTH,
        top=1 - above / height,
        bottom=below / height,
        wspace=0.12 / width,
        hspace=gap / side,
    )
    axes = list(grid.flat)
    for each in axes[len(titles) :]:
        each.set_visible(False)
    for place, (title, each) in enumerate(zip(titles, axes, strict=False)):
        each.set_title(title, loc="left", fontsize=9, pad=3)
        each.tick_params(labelsize=8, labelbottom=place + columns >= len(titles))
    figure.supxlabel(names[0], fontsize=9, x=(left + WIDTH - 0.1) / 2 / WIDTH, y=0.06 / height, va="bottom")
    figure.supylabel(names[1], fontsize=9, x=0.05 / WIDTH, y=(below + height - above) / 2 / height, ha="left")
    return figure, axes[: len(titles)]


def _wrapped(title: str, letters: int) -> str:
    return "\n".join(part for line in title.split("\n") for part in textwrap.wrap(line, letters))


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """By label of the row: a colour for the arm, a line style for the swept values, a marker for the row."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    variants = list(dict.fromkeys(row.runs.variant for row in rows))
    colours = {arm: ARMS[arm] for arm in arms if arm in ARMS}
    free = [colour for colour in OTHERS if colour not in colours.values()] or OTHERS
    unusual = [arm for arm in arms if arm not in ARMS]
    colours |= {arm: free[index % len(free)] for index, arm in enumerate(unusual)}
    rounds = {arm: index // len(free) for index, arm in enumerate(unusual)}  # repeated colours get other line styles
    by_label: dict[str, tuple[str, Any]] = {}
    # A sweep of one arm: the values need the colours more.
    if len(arms) == 1 < len(variants) or (len(arms) == 2 and len(variants) > 2):
        palette = (*OTHERS, MUTED)
        others = [row for row in rows if row.arm != "baseline" or len(arms) == 1]
        for index, row in enumerate(others):
            by_label[row.label] = palette[index % len(palette)], LINES[index // len(palette) % len(LINES)]
    styles = {}
    for index, row in enumerate(rows):
        variant = row.runs.variant
        line = variants.index(variant) - (variants[0] == "" and len(variants) > 1 and variant != "")
        dashes = LINES[0] if by_label else LINES[(line + rounds.get(row.arm, 0)) % len(LINES)]
        colour, dashes = by_label.get(row.label, (colours[row.arm], dashes))
        styles[row.label] = Look(colour, MARKERS[index % len(MARKERS)], dashes)
    return styles


def legend(figure: Figure, entries: Mapping[str, Mapping[str, Any]], columns: int = 4) -> None:
    """A legend below the axes, which covers no line, with as many columns as fit; by label the options of a line."""
    handles = [Line2D([], [], label=label, **options) for label, options in entries.items()]
    longest = max(map(len, entries), default=0)
    columns = max(min(columns, int(LETTERS_PER_INCH * figure.get_figwidth() / (longest + 6))), 1)
    lines = max(math.ceil(len(handles) / columns), 1)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(lines - 2, 0))  # the axes keep their height
    figure.legend(handles=handles, loc="outside lower center", ncols=max(math.ceil(len(handles) / lines), 1))
