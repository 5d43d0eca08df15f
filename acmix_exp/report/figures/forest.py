"""Paired differences to the reference, with intervals: overall, and class by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from acmix_exp.report.figures.style import INK, MUTED, Drawing, legend, looks, subplots
from acmix_exp.report.records import ArmRuns, Table
from acmix_exp.report.sentences import DELTA, conclusion, format_number, is_compared, verdict
from acmix_exp.report.statistics import differences, t_interval

MOST_CLASSES = 30
MOST_INTERVALS = 100


def forest(table: Table) -> Iterator[Drawing]:
    rows = [row for row in table.rows if is_compared(row)]
    if not any(row.comparison.deltas for row in rows):
        return
    look = looks(table.rows)
    figure, ((axes,),) = subplots(height=0.95 + 0.46 * len(rows))
    for y, row in enumerate(rows):
        colour, found, images = look[row.label].colour, row.comparison, row.images
        values = list(row.comparison.deltas.values())
        axes.plot(values, [y + 0.2] * len(values), "|", color=colour, markersize=7, alpha=0.75)
        if found.simultaneous_low is not None:
            ends = [found.simultaneous_low, found.simultaneous_high]
            axes.plot(ends, [y, y], color=colour, linewidth=0.9, marker="|", markersize=9)
        if found.low is not None:
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=2.6)
        if images.low is not None:
            ends = [images.low, images.high]
            axes.plot(ends, [y - 0.2] * 2, color=colour, linewidth=1, linestyle=(0, (2, 1.5)), marker="|")
        if found.mean is not None:
            axes.plot(found.mean, y, look[row.label].marker, color=colour, markersize=7)
        text = f"{format_number(found.mean, DELTA)}  n {found.n}\n{verdict(row, short=True)}"
        beside = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
        axes.annotate(text, (1.02, y), fontsize=8.5, color=INK, **beside)
    _finish(axes, [row.label for row in rows], (len(rows) - 0.5, -0.5), table.headline)
    for side, word in (("left", "\N{LEFTWARDS ARROW} worse"), ("right", "better \N{RIGHTWARDS ARROW}")):
        axes.set_title(word, loc=side, fontsize=8.5, color=MUTED)
    yield Drawing(
        figure,
        "Paired differences to the reference",
        "Strokes: single seeds. Symbol and thick bar: their mean and its 95 % paired t interval over seeds, of the arm "
        "alone. Thin line with ends: the simultaneous 95 % interval of the joint sign-flip test over all comparisons "
        "of the family; an arm is better or worse if and only if it excludes zero and, if outcomes were kept, so does "
        "the interval for another seed and another test set. Dashed, above the bar: 95 % interval over resampled test "
        "images.",
        " ".join(f"{row.label}, {verdict(row)}: {conclusion(row, table.reference)}" for row in rows),
    )


def _finish(axes: Axes, names: Sequence[str], limits: tuple[float, float], metric: str) -> None:
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(*limits)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"difference in {metric}")
    low, high = axes.get_xlim()
    margin = 0.04 * (max(high, 0) - min(low, 0))
    axes.set_xlim(min(low, -margin), max(high, margin))  # zero is always visible
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))


class ClassDelta(NamedTuple):
    """Mean paired difference of one class and its 95 % t interval."""

    mean: float
    low: float | None
    high: float | None


def class_deltas(table: Table) -> Iterator[Drawing]:
    deltas = {row.label: by_class for row in table.rows if (by_class := _class_deltas(row.runs, row.reference))}
    names = list(dict.fromkeys(name for by_class in deltas.values() for name in by_class))
    drawn = _largest(names, deltas)
    if not drawn:
        return
    look = looks(table.rows)
    band = 0.7 / len(deltas)
    entries: dict[str, dict[str, Any]] = {}
    figure, ((axes,),) = subplots(height=1.1 + len(drawn) * max(0.34, 0.11 * len(deltas) + 0.14))
    for index, (label, by_class) in enumerate(deltas.items()):
        style = look[label]
        for position, name in enumerate(drawn):
            if (delta := by_class.get(name)) is None:
                continue
            y = position + (index - (len(deltas) - 1) / 2) * band
            if delta.low is not None:
                axes.plot([delta.low, delta.high], [y, y], color=style.colour, linewidth=1.4, alpha=0.8)
            entries[label] = {"color": style.colour, "marker": style.marker, "markersize": 5, "linestyle": "none"}
            axes.plot(delta.mean, y, **entries[label])
    _finish(axes, drawn, (len(drawn) - 0.4, -0.6), table.headline)
    legend(figure, entries)
    caption = (
        "Mean paired difference to the reference with its 95 % t interval, not adjusted for the number of classes: it "
        "shows where a difference comes from and is no claim by itself."
    )
    if len(drawn) < len(names):
        caption += (
            f" Of {len(names)} classes these are the {len(drawn)} with the largest differences of any arm: because "
            "they were selected by their differences, they say nothing about the others."
        )
    yield Drawing(figure, "Differences class by class", caption)


def _class_deltas(row: ArmRuns, reference: ArmRuns | None) -> dict[str, ClassDelta]:
    """By class, over the seeds that have it in both arms."""
    if reference is None:
        return {}
    own, others = _by_class(row), _by_class(reference)
    deltas = {name: list(differences(own[name], others[name]).values()) for name in others if name in own}
    return {name: ClassDelta(sum(d) / len(d), *t_interval(d)) for name, d in deltas.items() if d}


def _by_class(row: ArmRuns) -> dict[str, dict[int, float]]:
    """The headline by class and seed."""
    values: dict[str, dict[int, float]] = {}
    for record in row.records:
        for name, value in record.result.per_class.items() if record.result else ():
            values.setdefault(name, {})[record.seed] = value
    return values


def _largest(names: list[str], deltas: dict[str, dict[str, ClassDelta]]) -> list[str]:
    """All classes in their order, or of many those that differ most."""
    most = min(MOST_CLASSES, max(MOST_INTERVALS // max(len(deltas), 1), 5))
    if len(names) <= most:
        return names

    def size(name: str) -> float:
        return max(abs(by_class[name].mean) for by_class in deltas.values() if name in by_class)

    kept = set(sorted(names, key=size, reverse=True)[:most])
    return [name for name in names if name in kept]
