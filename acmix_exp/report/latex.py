"""table.tex: the table as a paper takes it, with booktabs, within the text width of an ``article``."""

from __future__ import annotations

import re
from typing import Any

from acmix_exp.report.statistics import best_row

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
FIGURES = ("$n$", "mAP50-95", r"$\Delta$", r"95\,\% interval", "$p$", "verdict", "params", "FLOPs", "time")
UNITS = ("", "", "", "", "(Holm)", "", "(M)", "(G)", "(ms)")
SHORT = {"n too small to tell": "few", "no difference shown": "n.s.", "reference": DASH}
NEEDED = re.compile(r"n too small to tell \((\d+) seeds would do\)")
UNSEEN = re.compile(r"\\[A-Za-z]+|[\\${}]")
FOOTNOTE_LETTERS = 72


def latex(name: str, tables: list[dict[str, Any]], headings: list[str]) -> str:
    """Every table of an experiment as a ``tabular`` of its own, to be \\input; ``headings`` as comments."""
    parts = [f"% {name}, by acmix_exp. Needs \\usepackage{{booktabs}}.", "% mAP50-95: mean and standard deviation."]
    parts.append("% Bold: the highest mean, where the verdict allows to call it best.")
    for table, heading in zip(tables, headings, strict=True):
        parts += ["", f"% {' '.join(heading.split())}", *_tabular(table)]
    return "\n".join(parts) + "\n"


def escape(text: Any) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in str(text))


def _tabular(table: dict[str, Any]) -> list[str]:
    """In a group of its own, for its size and column distance are not the paper's."""
    swept, rows = table["swept_keys"], table["rows"]
    best = best_row(rows)
    heads = [("arm", ""), *map(_two_lines, swept), *zip(FIGURES, UNITS, strict=True)]
    body = []
    for place, row in enumerate(rows):
        cells = [escape(row["arm"]), *(DASH if row[key] is None else escape(row[key]) for key in swept)]
        body.append([*cells, *_figures(row, bold=place == best)])
    head = [[first for first, _ in heads], [second for _, second in heads]]
    below = [rf"\multicolumn{{{len(heads)}}}{{@{{}}l}}{{{text}}} \\" for text in _legend(table)]
    return [
        rf"\begingroup{_fit([*head, *body])}%",
        rf"\begin{{tabular}}{{@{{}}l{'l' * len(swept)}rrrrrlrrr@{{}}}}",
        r"\toprule",
        *(" & ".join(cells) + r" \\" for cells in head),
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        *below,
        r"\end{tabular}\endgroup",
        "% time: one image through the fused network.",
        *(f"% {' '.join(note.split())}" for note in table["notes"]),
    ]


def _two_lines(key: str) -> tuple[str, str]:
    """A swept key's own name, in a column's two lines of heading."""
    first, _, second = key.split(".")[-1].partition("_")
    return escape(first), escape(second)


def _fit(lines: list[list[str]]) -> str:
    """Size and column distance at which the columns fit the text of an ``article``, by the letters of the widest."""
    letters = sum(max(len(UNSEEN.sub("", cell)) for cell in column) for column in zip(*lines, strict=True))
    size, distance = ("footnotesize", 2.5) if letters <= FOOTNOTE_LETTERS else ("scriptsize", 1.5)
    return rf"\{size}\setlength{{\tabcolsep}}{{{distance}pt}}"


def _figures(row: dict[str, Any], *, bold: bool) -> list[str]:
    accuracy = _number(row["map50_95_mean"], ".3f")
    if row["map50_95_std"] is not None:
        accuracy = rf"{accuracy} \pm {row['map50_95_std']:.3f}"
    if row["map50_95_mean"] is not None:
        accuracy = rf"$\mathbf{{{accuracy}}}$" if bold else f"${accuracy}$"
    interval = DASH
    if row["delta_low"] is not None:
        interval = f"$[{row['delta_low']:.3f}, {row['delta_high']:.3f}]$"
    parameters, verdict = row["parameters"], str(row["verdict"] or DASH).split(" (")[0]
    return [
        str(row["n"]),
        accuracy,
        DASH if row["delta_mean"] is None else f"${row['delta_mean']:+.3f}$",
        interval,
        _p(row["p_adjusted"]),
        SHORT.get(verdict, escape(verdict)),
        _number(None if parameters is None else parameters / 1e6, ".2f"),
        _number(row["gflops"], ".2f"),
        _number(row["latency_ms_b1"], ".1f"),
    ]


def _legend(table: dict[str, Any]) -> list[str]:
    """What the table's short words stand for, a line each."""
    verdicts = [(str(row["verdict"]), row["in_family"], row["arm"]) for row in table["rows"]]
    lines = [rf"$\Delta$: mAP50-95 against {escape(table['reference'])}, paired by seed."]
    if any(verdict == "no difference shown" for verdict, _, _ in verdicts):
        lines.append("n.s.: no difference shown.")
    needed = [(NEEDED.fullmatch(verdict), member, arm) for verdict, member, arm in verdicts]
    own = dict.fromkeys(found[1] for found, member, _ in needed if found and member)
    own |= {f"{found[1]} for {escape(arm)}": None for found, member, arm in needed if found and not member}
    if own:
        lines.append(f"few: too few seeds to tell; enough would be {', '.join(own)}.")
    return lines


def _p(value: float | None) -> str:
    return DASH if value is None else "$<$0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)
