"""How every figure looks: one palette, told apart by colour-blind readers, in print and on light and dark pages."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

INK, RULE = "#1b1f24", "#d0d7de"


mpl.use("Agg")


WIDTH = 5.0  # inches: a phone can still show its letters
LETTERS = 14  # of a legend, an inch
LEGEND_LINE = 0.19  # inches, of a legend
MUTED = "#6e7781"  # readable on both grounds

# Okabe and Ito's palette, less its yellow; the usual arms keep their colour in every report.
ARMS = {
    "baseline": INK,
    "identity": MUTED,
    "conv3x3": "#56b4e9",
    "conv": "#e69f00",
    "attention": "#0072b2",
    "mixed": "#d55e00",
}
OTHERS = ("#009e73", "#cc79a7", "#0072b2", "#d55e00", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 3)))

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
}


class Look(NamedTuple):
    colour: str
    marker: str
    line: Any


def new(rows: int = 1, columns: int = 1, *, height: float, width: float = WIDTH, **options: Any) -> tuple[Figure, Any]:
    """A figure with its axes, always as an array."""
    mpl.rcParams.update(mpl.rcParamsDefault)
    mpl.rcParams.update(SETTINGS)  # type: ignore[arg-type]
    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)


def looks(rows: list[dict[str, Any]]) -> dict[str, Look]:
    """By row's label: a colour for the arm, a line for the swept values, a marker of its own."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    used = [ARMS[arm] for arm in arms if arm in ARMS]
    free = [colour for colour in OTHERS if colour not in used] or list(OTHERS)
    colours, rounds, extra = {}, {}, 0
    for arm in arms:
        if arm in ARMS:
            colours[arm], rounds[arm] = ARMS[arm], 0
        else:
            rounds[arm], place = divmod(extra, len(free))  # where the colours begin again, another line
            colours[arm] = free[place]
            extra += 1
    if len(arms) <= 2 and len(variants) > 2:  # a sweep of one arm: colours are worth more to the values
        plain = (*OTHERS, MUTED)
        others = [row for row in rows if row["arm"] != "baseline"]
        by_label = {row["label"]: plain[place % len(plain)] for place, row in enumerate(others)}
    else:
        by_label = {}
    found = {}
    for number, row in enumerate(rows):
        line = variants.index(row["variant"]) - (variants[0] == "" and len(variants) > 1 and row["variant"] != "")
        found[row["label"]] = Look(
            by_label.get(row["label"], colours[row["arm"]]),
            MARKERS[number % len(MARKERS)],
            LINES[0] if by_label else LINES[(line + rounds[row["arm"]]) % len(LINES)],
        )
    return found


def legend(figure: Figure, handles: list[Any], columns: int = 4) -> None:
    """Below the axes, where it never covers a line; in as many columns as the labels leave room for."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(min(columns, int(LETTERS * figure.get_figwidth() / (longest + 6))), 1)
    lines = max(-(-len(handles) // columns), 1)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(lines - 2, 0))  # the axes keep their height
    figure.legend(handles=handles, loc="outside lower center", ncols=max(-(-len(handles) // lines), 1))
