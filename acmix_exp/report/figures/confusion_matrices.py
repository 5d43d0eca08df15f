"""Confusion matrices, a panel for each row of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes

from acmix_exp.outcomes import CONFUSION_CONFIDENCE, CONFUSION_IOU, FILE, ClassOutcomes, load_outcomes
from acmix_exp.report.confusion import class_confusion
from acmix_exp.report.detection_curves import DetectionCurves
from acmix_exp.report.figures.detection_quality import LACKING, curves_by_row, lacking_rows
from acmix_exp.report.figures.detections import first_of
from acmix_exp.report.figures.style import Drawing, NoData, panels
from acmix_exp.report.records import Table
from acmix_exp.run.replicates import DAMAGED

MOST_ROWS = 16  # of the table, a panel each
MOST_CLASSES = 20
MOST_NUMBERS = 10  # classes with which cells have numbers
MOST_LETTERS = 12  # of a class's name
LETTER = 0.056  # inches, of a tick label
COLOURS = "Blues"
OVERLAPS = {"": "IoU", "mask": "mask IoU", "pose": "OKS", "rotated-box": "rotated-box IoU"}  # by ``Table.metric``
# Not INK, which the page makes light in dark mode: the cells stay as they are.
DARK, LIGHT = "#10151a", "#ffffff"
OF_IMAGES = "Percent of the images of a true class (columns) that were taken for each class. Mean over the seeds."


def confusion(table: Table) -> Iterator[Drawing]:
    by_row, classes = _of_classifiers(table) if table.classifies else _of_detectors(table)
    if not by_row:
        return
    count = len(classes)
    truth = next(iter(by_row.values()))[0][:, :count].sum(0)
    kept = np.sort(np.argsort(-truth, kind="stable")[:MOST_CLASSES])
    names = [_shortened(classes[index]) for index in kept]
    places = [int(index) for index in kept]
    if not table.classifies:
        names.append("background")
        places.append(-1)
    shown = list(by_row)[:MOST_ROWS]
    columns = 3 if len(names) <= 5 else 2
    letters = 0.1 + LETTER * (1 if len(names) <= MOST_NUMBERS + 1 else 0.75) * max(map(_letters, names))
    side = 1.25 if columns == 3 else 2.0
    figure, grid = panels(shown, columns, ("true class", "predicted class"), side=side, labels=(letters, letters))
    means = {label: _shares(by_row[label])[np.ix_(places, places)] for label in shown}
    for label, axes in zip(shown, grid, strict=True):
        _panel(axes, means[label], names, numbers=len(names) <= MOST_NUMBERS + 1)
    counted = "images" if table.classifies else "boxes"
    most = f"Of {count} classes the {len(kept)} with the most {counted}." if len(kept) < count else ""
    caption = [
        OF_IMAGES if table.classifies else _of_boxes(table),
        most,
        first_of(list(by_row), MOST_ROWS, "rows"),
        lacking_rows(table.rows, list(by_row), "outcomes.npz of version 2"),
    ]
    with_boxes = [place for place, index in enumerate(kept) if truth[index]]
    results = [
        f"{label}: {', '.join(f'{names[place]} {100 * matrix[place, place]:.0f} %' for place in with_boxes)}."
        for label, matrix in means.items()
    ]
    yield Drawing(
        figure,
        "Confusion matrices",
        " ".join(filter(None, caption)),
        f"{counted.capitalize()} found as their class. " + " ".join(results),
    )


def _of_boxes(table: Table) -> str:
    # Of masks and keypoints ultralytics matches the boxes.
    as_stock = ", as in ultralytics" if table.metric in ("", "rotated-box") else ""
    return (
        "Percent of the boxes of a true class (columns) that were found as each class; last row: not found; last "
        "column: of the detections without a box, the share of each class. Mean over the seeds, confidence above "
        f"{CONFUSION_CONFIDENCE}, {OVERLAPS[table.metric]} above {CONFUSION_IOU}{as_stock}."
    )


ByRow = dict[str, list[np.ndarray]]


def _of_detectors(table: Table) -> tuple[ByRow, tuple[str, ...]]:
    """By row the matrices of its runs, int64 [C + 1, C + 1], and the C classes. Raises NoData."""
    found = curves_by_row(table)
    by_row = {label: matrices for label, curves in found.items() if (matrices := _matrices(curves))}
    if found and not by_row:
        raise NoData("no run has an outcomes.npz of version 2, which 0.2.0 began to write")
    return by_row, next((curves[0].classes for label, curves in found.items() if label in by_row), ())


def _of_classifiers(table: Table) -> tuple[ByRow, tuple[str, ...]]:
    """The same of classifiers, int64 [C, C]."""
    by_row: ByRow = {}
    classes: tuple[str, ...] = ()
    for row in table.rows:
        for record in row.runs.records:
            try:
                outcomes = load_outcomes(record.run.path / FILE)
            except DAMAGED:
                continue
            if isinstance(outcomes, ClassOutcomes):
                classes = tuple(map(str, outcomes.classes))
                by_row.setdefault(row.label, []).append(class_confusion(outcomes))
    if not by_row and any(row.n for row in table.rows):
        raise NoData(LACKING)
    return by_row, classes


def _matrices(curves: Sequence[DetectionCurves]) -> list[np.ndarray]:
    return [each.confusion for each in curves if each.confusion is not None]


def _shares(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over runs of the columns' shares, float64 like them; 0 in a column without a box."""
    shares = [matrix / np.maximum(matrix.sum(0), 1) for matrix in matrices]
    return np.asarray(np.mean(shares, axis=0))


def _panel(axes: Axes, shares: np.ndarray, names: Sequence[str], *, numbers: bool) -> None:
    axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, interpolation="none", aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(length=0, labelsize=7 if numbers else 5)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if not numbers:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = LIGHT if share > 0.55 else DARK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=colour)


def _letters(name: str) -> int:
    """How wide a name is, in letters: Chinese characters take two."""
    return sum(1 + (east_asian_width(letter) in "WF") for letter in name)


def _shortened(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
