"""Which row of a table may be called the best."""

from __future__ import annotations

from typing import Any

from acmix_exp.report.statistics import LEVEL, holm, paired


def best_row(rows: list[dict[str, Any]]) -> int | None:
    """The row of the highest mean where the verdicts allow to call it best.

    Either it is better than the reference, or it is the reference and every arm compared with it is worse. Where
    several are better than the reference, it must differ from each of them too, by the same test and adjusted by Holm.
    """
    means = [(row["map50_95_mean"], place) for place, row in enumerate(rows) if row["map50_95_mean"] is not None]
    if not means:
        return None
    top = max(mean for mean, _ in means)
    places = [place for mean, place in means if mean == top]
    if len(places) > 1:
        return None
    first = rows[places[0]]
    compared = [row for row in rows if row["in_family"]]
    if first["verdict"] == "reference":
        return places[0] if compared and {row["verdict"] for row in compared} == {"worse"} else None
    if first["verdict"] != "better" or not first["in_family"]:
        return None
    others = [row for row in compared if row["verdict"] == "better" and row is not first]
    return places[0] if all(p <= LEVEL for p in _against(first, others)) else None


def _against(row: dict[str, Any], others: list[dict[str, Any]]) -> list[float]:
    """Holm-adjusted p of the row's difference to each of the others, over the seeds they share; 1 where undefined."""
    found = []
    mine = _by_seed(row)
    for other in others:
        theirs = _by_seed(other)
        seeds = sorted(mine.keys() & theirs.keys())
        p = paired([mine[seed] for seed in seeds], [theirs[seed] for seed in seeds]).p
        found.append(1.0 if p is None else p)
    return [1.0 if p is None else p for p in holm(found)]


def _by_seed(row: dict[str, Any]) -> dict[int, float]:
    return {value["seed"]: value["map50_95"] for value in row["values"]}
