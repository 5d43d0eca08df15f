"""Draws one share of a report's figures: ``python -m acmix_exp.report.figures.draw VIEW OUT SHARE SHARES PARENT_PID``.

VIEW is a JSON file of ``acmix_exp.report.figure_data``; figures go to the folder OUT as PNG and
SVG, and OUT/SHARE.json lists them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acmix_exp.child import die_with_parent
from acmix_exp.errors import one_line
from acmix_exp.report.figures.catalogue import KINDS, Kind, file_stem

DOTS = 200  # an inch, of the PNG files


def main(arguments: list[str]) -> int:
    source, out, share, shares = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    die_with_parent(int(arguments[4]))
    from acmix_exp.report.figures import cuts

    view = json.loads(source.read_text(encoding="utf-8"))
    drawn = []
    for number, table in enumerate(view["tables"]):
        for kind in KINDS:
            if kind.share % shares != share:
                continue
            try:
                cut = cuts.left_out(kind.name, table)
                for label, figure in _figures(kind, table):
                    stem = file_stem(kind.name, label, number + 1 if len(view["tables"]) > 1 else 0)
                    _save(figure, out / stem)
                    drawn.append({"table": number, "kind": kind.name, "label": label, "stem": stem, "cut": cut})
            except Exception as error:  # what one run stored badly costs one figure, not the report
                failed = {"table": number, "kind": kind.name, "label": "", "stem": None, "error": one_line(error)}
                drawn.append(failed)
    (out / f"{share}.json").write_text(json.dumps(drawn), encoding="utf-8")
    return 0


def _figures(kind: Kind, table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    from acmix_exp.report.figures import attention_maps, cost_plots, detections, forest, training_curves

    one = {
        "forest": forest.forest,
        "class_deltas": forest.classes,
        "learning_curves": training_curves.curves,
        "rates": training_curves.rates,
        "rate_ratio": training_curves.ratio,
        "latency": cost_plots.latency,
        "predictions": detections.pictures,
    }
    if kind.name in one:
        figure = one[kind.name](table)
        yield from [] if figure is None else [("", figure)]
    else:
        several = {"windows": attention_maps.windows, "heads": attention_maps.heads}[kind.name]
        yield from several(table)


def _save(figure: Any, path: Path) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = path.name  # the same figure, the same bytes; two on one page, other ids
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=DOTS)
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None}, transparent=True)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
