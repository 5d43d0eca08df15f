"""Training over the epochs: accuracy, and the two rates of every ACmix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from acmix_exp.config import IDENTITY
from acmix_exp.report.figures.style import MUTED, Drawing, legend, looks, subplots
from acmix_exp.report.records import Record, Table
from acmix_exp.report.sentences import MAP, format_number

RATES: dict[str, tuple[str, Any]] = {"rate1": ("attention", "solid"), "rate2": ("convolution", (0, (3, 1.5)))}
MOST_BANDS = 3  # rows with which each has a band; of more, the reference alone
Points = list[tuple[float, float]]  # epoch and value


def learning_curves(table: Table) -> Iterator[Drawing]:
    figure, ((axes,),) = subplots(height=3.5)
    entries = _draw(axes, table, table.task.headline_key)
    if not entries:
        return
    axes.set_ylim(bottom=0)
    _label_epochs(axes)
    axes.set_ylabel(f"{table.headline} on val")
    legend(figure, entries)
    ends = [
        f"{row.label} ends at a headline of {format_number(row.headline.mean, MAP)}."
        for row in table.rows
        if row.headline.mean is not None
    ]
    caption = f"{table.headline} on val after every epoch. {_lines(table, entries)}"
    yield Drawing(figure, "Learning curves", caption, " ".join(ends))


def losses(table: Table) -> Iterator[Drawing]:
    """The parts of the loss on train and val, one panel each."""
    histories = [record.history for row in table.rows for record in row.runs.records]
    keys = list(dict.fromkeys(key for history in histories for key in (history[0] if history else ())))
    parts = list(dict.fromkeys(key.split("/", 1)[1] for key in keys if key.startswith(("train/", "val/"))))
    parts = [part for part in parts if any(_values(history, f"train/{part}") for history in histories)]
    if not parts:
        return
    shown = [split for split in ("train", "val") if any(f"{split}/{part}" in keys for part in parts)]
    figure, grid = subplots(len(shown), len(parts), height=0.7 + 1.75 * len(shown), width=max(5.0, 1.9 * len(parts)))
    entries: dict[str, dict[str, Any]] = {}
    for (split, part), axes in zip(product(shown, parts), grid.flat, strict=True):
        entries |= _draw(axes, table, f"{split}/{part}", linewidth=1.3)
        axes.set_title(f"{part.removesuffix('_loss')}, {split}", loc="left", fontsize=9)
        axes.tick_params(labelsize=8)
        _label_epochs(axes, few=True)
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
    legend(figure, entries)
    other = [row.label for row in table.rows if row.runs.box_loss not in (None, IDENTITY)]
    words = f" box of {', '.join(other)} is another loss, not to be compared with the others." if other else ""
    caption = (
        f"The parts of the loss after every epoch. {_lines(table, entries)} On val: of the averaged (EMA) network."
        f"{words}"
    )
    yield Drawing(figure, "Training and validation losses", caption)


def _draw(axes: Axes, table: Table, key: str, **style: Any) -> dict[str, dict[str, Any]]:
    """The mean of each row over its seeds, and the bands; by label the options of the line. style: other options."""
    look, entries = looks(table.rows), {}
    curves_by_row = {
        row.label: (row.arm, curves)
        for row in table.rows
        if (curves := [points for record in row.runs.records if (points := _points(record, key))])
    }
    for label, (arm, curves) in curves_by_row.items():
        of_row, mean = look[label], _mean(curves)
        if not mean:
            continue
        entries[label] = {"color": of_row.colour, "linewidth": 2, "linestyle": of_row.line}
        axes.plot(*zip(*mean, strict=True), **(entries[label] | style))
        if len(mean) == 1:
            axes.plot(*mean[0], of_row.marker, color=of_row.colour, markersize=5)
        if len(curves) > 1 and (len(curves_by_row) <= MOST_BANDS or arm == table.reference):
            by_epoch = [dict(points) for points in curves]
            epochs = [epoch for epoch, _ in mean]
            low, high = ([end(values[epoch] for values in by_epoch) for epoch in epochs] for end in (min, max))
            axes.fill_between(epochs, low, high, color=of_row.colour, alpha=0.15, linewidth=0)
    return entries


def _lines(table: Table, entries: Mapping[str, Any]) -> str:
    """What lines and bands are. entries: the rows that are drawn."""
    lines = "Lines: means over the seeds"
    if len(entries) <= MOST_BANDS:
        return f"{lines}; bands: from the lowest to the highest seed."
    if any(row.arm == table.reference for row in table.rows if row.label in entries):
        return f"{lines}; band: from the lowest to the highest seed of {table.reference}."
    return f"{lines}."


def _label_epochs(axes: Axes, *, few: bool = False) -> None:
    axes.set_xlabel("epoch")
    low, high = axes.get_xlim()
    if high - low < 2:  # a single epoch
        axes.set_xlim(math.floor(low), math.ceil(high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4 if few else 6))


def rates(table: Table) -> Iterator[Drawing]:
    sites = _sites(table)
    if not sites:
        return
    columns = min(len(sites), 2)
    lines = math.ceil(len(sites) / columns)
    figure, grid = subplots(lines, columns, height=0.9 + 2.2 * lines, sharex=True, sharey=True)
    entries: dict[str, dict[str, Any]] = {}
    for site, axes in zip(sites, grid.flat, strict=False):
        for rate, (_, line) in RATES.items():
            for label, options in _draw(axes, table, f"rates/{site}/{rate}", linestyle=line, linewidth=1.5).items():
                entries[label] = {"color": options["color"], "linewidth": 2}
        axes.set_title(site, loc="left")
        _label_epochs(axes)
    for axes in list(grid.flat)[len(sites) :]:
        axes.set_visible(False)
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
    for axes in grid[:, 0]:
        axes.set_ylabel("rate")
    words = _lines(table, entries)
    for rate, (branch, line) in RATES.items():
        entries[f"{branch} ({rate})"] = {"color": MUTED, "linestyle": line}
    legend(figure, entries)
    caption = f"rate1 scales the attention branch, rate2 the convolution branch. {words}"
    yield Drawing(figure, "The rates of every ACmix over the epochs", caption)


def rate_ratio(table: Table) -> Iterator[Drawing]:
    """Which branch outweighs the other at each depth. Source: Pan et al., CVPR 2022, section 5."""
    look = looks(table.rows)
    records = [record for row in table.rows for record in row.runs.records]
    sites = [site for site in _sites(table) if any(_log_ratio(record, site) is not None for record in records)]
    if not sites:
        return
    figure, ((axes,),) = subplots(height=2.9)
    entries = {}
    for row in table.rows:
        style = look[row.label]
        per_seed = [[_log_ratio(record, site) for site in sites] for record in row.runs.records]
        for values in per_seed:
            points = [(index, value) for index, value in enumerate(values) if value is not None]
            if points:
                axes.plot(*zip(*points, strict=True), "o", color=style.colour, alpha=0.4, markersize=4)
        by_site = [[value for value in values if value is not None] for values in zip(*per_seed, strict=True)]
        means = [(index, fmean(values)) for index, values in enumerate(by_site) if values]
        if means:
            entries[row.label] = {"color": style.colour, "linewidth": 2, "linestyle": style.line}
            axes.plot(*zip(*means, strict=True), marker=style.marker, **entries[row.label])
    axes.axhline(0, color=MUTED, linewidth=1)
    few = len(sites) < 5
    axes.set_xticks(range(len(sites)), sites, rotation=0 if few else 35, ha="center" if few else "right")
    axes.set_xlim(-0.4, len(sites) - 0.6)
    axes.set_ylabel("ln |rate1 / rate2|")
    axes.margins(y=0.15)
    legend(figure, entries)
    caption = (
        "Natural logarithm of |rate1 / rate2| after the last epoch, from the input to the output of the network: above "
        "zero attention outweighs convolution. Dots: seeds; line: their mean. As in the publication."
    )
    yield Drawing(figure, "Attention against convolution, by depth", caption)


def _sites(table: Table) -> list[str]:
    """Every site with a rate, in the order of the network, as in the histories."""
    first_epochs = [epoch for row in table.rows for record in row.runs.records for epoch in record.history[:1]]
    keys = [key for epoch in first_epochs for key in epoch if "rates/" in key]
    return list(dict.fromkeys(key.split("/", 1)[1].rsplit("/", 1)[0] for key in keys))


def _points(record: Record, key: str) -> Points:
    pairs = ((_number(row.get("epoch")), _number(row.get(key))) for row in record.history)
    return [(epoch, value) for epoch, value in pairs if epoch is not None and value is not None]


def _values(history: Sequence[dict[str, str]], key: str) -> list[float]:
    return [value for row in history if (value := _number(row.get(key))) is not None]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _mean(curves: Sequence[Points]) -> Points:
    """Over the seeds, at the epochs that all of them have."""
    by_epoch = [dict(points) for points in curves]
    shared = set.intersection(*(set(values) for values in by_epoch)) if by_epoch else set()
    return [(epoch, fmean(values[epoch] for values in by_epoch)) for epoch in sorted(shared)]


def _log_ratio(record: Record, site: str) -> float | None:
    ends = [_points(record, f"rates/{site}/{rate}")[-1:] for rate in RATES]
    if not all(ends):
        return None
    attention, convolution = (abs(points[0][1]) for points in ends)
    return math.log(attention / convolution) if attention and convolution else None
