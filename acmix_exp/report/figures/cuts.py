"""What a figure leaves out, as a sentence for its caption: nothing is cut or chosen without a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from acmix_exp.report.figures import attention_maps, detections, forest


def left_out(kind: str, table: dict[str, Any]) -> str:
    """Empty where the figure shows everything."""
    return " ".join(CUTS[kind](table)) if kind in CUTS else ""


def _predictions(table: dict[str, Any]) -> list[str]:
    chosen = detections.same_seed(table, "images")
    seed = next((run["seed"] for run in chosen.values()), None)
    without = [row["label"] for row in table["rows"] if row["runs"] and row["label"] not in chosen]
    found = _rows(list(chosen), detections.MOST_ROWS, "rows")
    if chosen and without:
        found.append(f"No images of seed {seed} were kept for {', '.join(without)}.")
    count = len(detections.class_colours(map(detections.stored, detections.drawn(chosen).values())))
    if count > detections.MOST_CLASSES:
        found.append(f"Of {count} classes the legend names the first {detections.MOST_CLASSES}.")
    return found


def _windows(table: dict[str, Any]) -> list[str]:
    return _rows(
        [label for label, _ in attention_maps.with_windows(table)], attention_maps.MOST_ROWS, "rows with attention"
    )


def _heads(table: dict[str, Any]) -> list[str]:
    chosen = attention_maps.with_heads(table)
    found = _rows([label for label, _ in chosen], attention_maps.MOST_ROWS, "rows with attention")
    most = max((site["head"] for _, run in chosen for site in attention_maps.sites_with_heads(run)), default=0)
    return found + (
        [f"Of {most} heads the first {attention_maps.MOST_HEADS}."] if most > attention_maps.MOST_HEADS else []
    )


def _class_deltas(table: dict[str, Any]) -> list[str]:
    rows = [row for row in table["rows"] if row["class_deltas"]]
    count, shown = len(forest.all_classes(rows)), len(forest.shown_classes(rows))
    if shown == count:
        return []
    return [
        f"Of {count} classes these are the {shown} with the largest differences of any arm: chosen for what they show, "
        "they say nothing of the others."
    ]


def _rows(labels: Sequence[str], most: int, what: str) -> list[str]:
    if len(labels) <= most:
        return []
    return [f"Of {len(labels)} {what} the first {most} are drawn, without {', '.join(labels[most:])}."]


CUTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "predictions": _predictions,
    "windows": _windows,
    "heads": _heads,
    "class_deltas": _class_deltas,
}
