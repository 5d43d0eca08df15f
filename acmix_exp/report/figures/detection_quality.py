"""Curves of the headline's detections, a panel for each row: precision over recall, and F1 over confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from acmix_exp.report.detection_curves import CONFIDENCES, DetectionCurves
from acmix_exp.report.figures.detections import first_of
from acmix_exp.report.figures.style import MUTED, Drawing, NoData, looks, panels
from acmix_exp.report.records import Row, Table
from acmix_exp.report.sentences import MAP, format_number
from acmix_exp.run.replicates import RECALLS

MOST_ROWS = 24  # of the table, a panel each
EVERY = 5  # of the confidences, drawn
TICKS = (0, 0.5, 1)
REFERENCE_LINE = (0, (3, 1.5))
LACKING = "no run has a readable outcomes.npz"
OF_CLASSES = "a classifier has no detections"
Curve = Callable[[DetectionCurves], np.ndarray]


def precision_recall(table: Table) -> Iterator[Drawing]:
    if not (by_row := curves_by_row(table)):
        return
    areas = {label: float(np.mean([curves.area for curves in of_row])) for label, of_row in by_row.items()}
    name = f"{table.metric} mAP50".strip()
    texts = {label: f"{name} {format_number(area, MAP)}" for label, area in areas.items()}
    figure, caption = _draw(table, by_row, RECALLS, lambda curves: curves.at_recall, texts, ("recall", "precision"))
    yield Drawing(
        figure,
        "Precision over recall",
        f"At the threshold of {name}, mean over the classes; the area is {name}. {caption}",
        " ".join(f"{label}: {text}." for label, text in texts.items()),
    )


def f1_confidence(table: Table) -> Iterator[Drawing]:
    if not (by_row := curves_by_row(table)):
        return
    name = f"{table.metric} mAP50".strip()
    means = {label: np.mean([curves.f1 for curves in of_row], axis=0) for label, of_row in by_row.items()}
    best = {label: int(mean.argmax()) for label, mean in means.items()}
    texts = {
        label: f"F1 {format_number(float(means[label][place]), MAP)} at {CONFIDENCES[place]:.2f}"
        for label, place in best.items()
    }
    x = CONFIDENCES[::EVERY]
    figure, caption = _draw(table, by_row, x, lambda curves: curves.f1[::EVERY], texts, ("confidence", "F1"))
    yield Drawing(
        figure,
        "F1 over confidence",
        f"Of the detections above a confidence, at the threshold of {name}, mean over the classes. "
        f"Numbers: the highest F1 of the mean curve, and where it is. {caption}",
        " ".join(f"{label}: highest {text}." for label, text in texts.items()),
    )


def curves_by_row(table: Table) -> dict[str, list[DetectionCurves]]:
    """The curves of the finished runs by the row's label, without rows that have none. Raises NoData if no row has."""
    if table.classifies:
        raise NoData(OF_CLASSES)
    by_row = {
        row.label: [curves for record in row.runs.records if (curves := record.detection_curves)] for row in table.rows
    }
    found = {label: curves for label, curves in by_row.items() if curves}
    if not found and any(row.n for row in table.rows):
        raise NoData(LACKING)
    return found


def lacking_rows(rows: Sequence[Row], shown: Sequence[str], what: str) -> str:
    """Which rows with finished runs have no panel, and why."""
    without = [row.label for row in rows if row.n and row.label not in shown]
    return f"Without {what}: {', '.join(without)}." if without else ""


def _draw(
    table: Table,
    by_row: dict[str, list[DetectionCurves]],
    x: np.ndarray,
    curve: Curve,
    texts: dict[str, str],
    names: tuple[str, str],
) -> tuple[Figure, str]:
    """The panels, each with the reference's mean behind that of its row; and the end of the caption."""
    look, shown = looks(table.rows), list(by_row)[:MOST_ROWS]
    figure, grid = panels([f"{label}\n{texts[label]}" for label in shown], 3, names, side=1.15, labels=(0.2, 0.25))
    behind = next((row.label for row in table.rows if row.arm == table.reference and row.label in by_row), None)
    highest = 0.0
    for label, axes in zip(shown, grid, strict=True):
        values, colour = np.array([curve(curves) for curves in by_row[label]]), look[label].colour
        if behind is not None and label != behind:
            mean = np.mean([curve(curves) for curves in by_row[behind]], axis=0)
            axes.plot(x, mean, color=MUTED, linewidth=1, linestyle=REFERENCE_LINE)
        if len(values) > 1:
            axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, values.mean(0), color=colour, linewidth=1.5)
        highest = max(highest, float(values.max()))
    grid[0].set(xlim=(0, 1), ylim=(0, min(1.02, 1.08 * highest) or 1))
    grid[0].set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    grid[0].yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    lines = "Lines: means over the seeds; bands: from the lowest to the highest seed"
    caption = [
        f"{lines}; dashed: {behind}." if behind is not None and len(shown) > 1 else f"{lines}.",
        first_of(list(by_row), MOST_ROWS, "rows"),
        lacking_rows(table.rows, list(by_row), "outcomes.npz"),
    ]
    return figure, " ".join(filter(None, caption))
