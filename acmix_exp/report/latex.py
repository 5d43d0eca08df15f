"""table.tex: the table as a paper takes it, with booktabs."""

from __future__ import annotations

from typing import Any

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
DASH = "--"
FIGURES = ("$n$", "mAP50-95", "mAP50", r"$\Delta$", r"95\,\% interval", "verdict", "params (M)", "GFLOPs", "ms")


def latex(name: str, tables: list[dict[str, Any]], headings: list[str]) -> str:
    """Every table of an experiment as a ``tabular`` of its own, to be \\input; ``headings`` as comments."""
    parts = [f"% {name}, by acmix_exp. Needs \\usepackage{{booktabs}}.", "% mAP50-95: mean and standard deviation."]
    parts.append("% Bold: the highest mean, where the verdict allows to call it best.")
    for table, heading in zip(tables, headings, strict=True):
        parts += ["", f"% {' '.join(heading.split())}", *_tabular(table)]
    return "\n".join(parts) + "\n"


def best_row(rows: list[dict[str, Any]]) -> int | None:
    """The row of the highest mean where the verdicts allow to call it best.

    Either it is better than the reference, or it is the reference and every arm compared with it is worse.
    """
    means = [(row["map50_95_mean"], place) for place, row in enumerate(rows) if row["map50_95_mean"] is not None]
    if not means:
        return None
    top = max(mean for mean, _ in means)
    places = [place for mean, place in means if mean == top]
    if len(places) > 1:
        return None
    verdict = rows[places[0]]["verdict"]
    others = [row["verdict"] for row in rows if row["in_family"]]
    if (verdict == "better" and rows[places[0]]["in_family"]) or (
        verdict == "reference" and others and set(others) == {"worse"}
    ):
        return places[0]
    return None


def escape(text: Any) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in str(text))


def _tabular(table: dict[str, Any]) -> list[str]:
    swept, rows = table["swept_keys"], table["rows"]
    best = best_row(rows)
    lines = [rf"\begin{{tabular}}{{l{'l' * len(swept)}rrrrrlrrr}}", r"\toprule"]
    lines += [" & ".join(["arm", *map(escape, swept), *FIGURES]) + r" \\", r"\midrule"]
    for place, row in enumerate(rows):
        cells = [escape(row["arm"]), *(DASH if row[key] is None else escape(row[key]) for key in swept)]
        lines.append(" & ".join([*cells, *_figures(row, bold=place == best)]) + r" \\")
    return [
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        f"% Delta: mAP50-95 against {table['reference']}, paired by seed. ms: one image through the fused network.",
        *(f"% {' '.join(note.split())}" for note in table["notes"]),
    ]


def _figures(row: dict[str, Any], *, bold: bool) -> list[str]:
    accuracy = _number(row["map50_95_mean"], ".3f")
    if row["map50_95_std"] is not None:
        accuracy = rf"{accuracy} \pm {row['map50_95_std']:.3f}"
    if row["map50_95_mean"] is not None:
        accuracy = rf"$\mathbf{{{accuracy}}}$" if bold else f"${accuracy}$"
    interval = DASH
    if row["delta_low"] is not None:
        interval = f"$[{row['delta_low']:+.3f}, {row['delta_high']:+.3f}]$"
    parameters = row["parameters"]
    return [
        str(row["n"]),
        accuracy,
        _number(row["map50_mean"], ".3f"),
        DASH if row["delta_mean"] is None else f"${row['delta_mean']:+.3f}$",
        interval,
        escape(row["verdict"] or DASH),
        _number(None if parameters is None else parameters / 1e6, ".2f"),
        _number(row["gflops"], ".2f"),
        _number(row["latency_ms_b1"], ".1f"),
    ]


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)
