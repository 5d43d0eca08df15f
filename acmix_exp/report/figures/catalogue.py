"""Which figures a report has, in the order of the page, and how they are saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from acmix_exp.errors import StorageError, one_line, storage_fault
from acmix_exp.report.figures.attention_maps import heads, windows
from acmix_exp.report.figures.cost_plots import latency
from acmix_exp.report.figures.detections import predictions
from acmix_exp.report.figures.forest import class_deltas, forest
from acmix_exp.report.figures.style import Drawing, Drawn
from acmix_exp.report.figures.training_curves import learning_curves, rate_ratio, rates
from acmix_exp.report.records import Table

DOTS = 200  # per inch, of the PNG files
FIGURES: dict[str, Callable[[Table], Iterable[Drawing]]] = {
    figure.__name__: figure
    for figure in (forest, learning_curves, latency, rates, rate_ratio, class_deltas, predictions, windows, heads)
}
LOOK: dict[Any, Any] = {
    **{key: mpl.rcParamsDefault[key] for key in mpl.rcParamsDefault if key != "backend"},
    **mpl.rc_params_from_file(Path(__file__).with_name("figures.mplstyle"), use_default_template=False),
}


def draw_figures(tables: Sequence[Table], folder: Path) -> list[Drawn]:
    """Draw every figure of every table into ``folder``, as PNG and SVG.

    A figure that cannot be drawn is an entry with ``error``: a damaged file of one run does not stop the report.
    Raises OSError if the disk is full or the like.
    """
    drawn = []
    with mpl.rc_context(LOOK):
        for index, table in enumerate(tables):
            for name, figure in FIGURES.items():
                try:
                    for drawing in figure(table):
                        stem = _file_stem(name, drawing.label, index + 1 if len(tables) > 1 else 0)
                        _save(drawing, folder, stem)
                        drawn.append(Drawn(index, name, drawing, stem))
                except Exception as error:
                    if fault := storage_fault(error, str(folder.parent)):
                        raise StorageError(fault) from error
                    drawn.append(Drawn(index, name, error=one_line(error)))
    return drawn


def _file_stem(name: str, label: str, table: int) -> str:
    """The file name of a figure; ``label`` is a row's or empty, ``table`` is 0 if there is only one."""
    parts = [name, re.sub(r"[^A-Za-z0-9.=_-]+", "-", label).strip("-."), str(table) if table else ""]
    return "-".join(filter(None, parts))


def _save(drawing: Drawing, folder: Path, stem: str) -> None:
    mpl.rcParams["svg.hashsalt"] = stem  # equal bytes for equal figures, and different ids on one page
    drawing.figure.savefig(folder / f"{stem}.png", dpi=DOTS)
    drawing.figure.set_layout_engine("none")  # the layout stays as it is, and is not computed again
    drawing.figure.savefig(folder / f"{stem}.svg", metadata={"Date": None}, transparent=True)
