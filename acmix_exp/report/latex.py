"""table.tex: the tables for a paper, with booktabs, within the text width of an ``article``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from acmix_exp.report.columns import Column, columns
from acmix_exp.report.notes import count
from acmix_exp.report.records import Row, Table
from acmix_exp.report.sentences import DASH, VERDICTS, format_number, verdict
from acmix_exp.report.statistics import Verdict
from acmix_exp.report.table import best_row

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a line it would begin an option
    "]": "{]}",
    "*": "{*}",  # the same
    "±": r"$\pm$",
    DASH: "--",
}
# Verdicts that are too long for a column; a line below the table explains them.
SHORT = {
    Verdict.TOO_FEW_SEEDS: "few",
    Verdict.DIVERGED: "diverged",
    Verdict.NO_DIFFERENCE: "n.s.",
    Verdict.REFERENCE: DASH,
}
INVISIBLE = re.compile(r"\\[A-Za-z]+|[\\${}]")
TEXT_WIDTH = 345.0  # points, of an ``article`` with letters of 10 points
# Size -> width of a letter or digit in points, at most, and the smallest distance of a column's text to its edge.
SIZES = ((r"\footnotesize", 4.6, 2.0), (r"\scriptsize", 4.06, 0.6), (r"\tiny", 3.5, 0.4))
WIDEST_DISTANCE = 4.0


def latex(name: str, tables: Sequence[Table]) -> str:
    """Each table as a ``table`` environment with caption and label, for \\input."""
    lines = [
        f"% {' '.join(name.split())}, by acmix_exp. Needs \\usepackage{{booktabs}}.",
        "% Bold: the highest mean, if the verdicts allow to call it the best.",
    ]
    for number, table in enumerate(tables, 1):
        lines += [
            "",
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{escape(_caption(table))}}}",
            rf"\label{{tab:{label(name, number if len(tables) > 1 else 0)}}}",
            *_tabular(table),
            r"\end{table}",
        ]
    return "\n".join(lines) + "\n"


def label(name: str, number: int = 0) -> str:
    """What follows ``tab:`` in the label: letters and digits of the experiment's name, and the table's number."""
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "results", str(number or ""))))


def _caption(table: Table) -> str:
    numbers = sorted({row.n for row in table.rows if row.n})
    seeds = f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else count(sum(numbers), "seed")
    shown = any(_shows(table, f"{key}_mean") for key in ("map50_95", "top1"))
    spread = f"; {table.headline} with its standard deviation" if shown else ""
    return f"{' '.join(table.heading.split())}. Means over {seeds}{spread}."


def _shows(table: Table, key: str) -> bool:
    return any(key in column.numbers for column in columns("tex", table))


def escape(text: str) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in text)


def _tabular(table: Table) -> list[str]:
    """In a group, because size and column distance are changed."""
    visible, swept, best = columns("tex", table), table.swept_keys, best_row(table.rows)
    heads = [("arm", ""), *map(_two_lines, swept), *map(_heading, visible)]
    body = []
    for row in table.rows:
        values = [escape(format_number(row.runs.swept[key], "")) for key in swept]
        body.append([escape(row.arm), *values, *(_cell(column, row, bold=row is best) for column in visible)])
    lines = [[first for first, _ in heads], [second for _, second in heads], *body]
    alignment = "l" * (1 + len(swept)) + "".join("l" if column.form == "verdict" else "r" for column in visible)
    return [
        rf"\begingroup{_fit(lines)}%",
        rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
        r"\toprule",
        *(" & ".join(cells) + r" \\" for cells in lines[:2]),
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        *(rf"\multicolumn{{{len(heads)}}}{{@{{}}l}}{{{text}}} \\" for text in _legend(table)),
        r"\end{tabular}\endgroup",
        "% latency: one image through the fused network.",
        *(f"% {' '.join(note.split())}" for note in table.notes),
    ]


def _two_lines(key: str) -> tuple[str, str]:
    """The last part of a swept key, on the two lines of a heading."""
    first, _, second = key.split(".")[-1].partition("_")
    return escape(first), escape(second)


def _heading(column: Column) -> tuple[str, str]:
    first, _, second = column.short.partition("\n")
    return escape(first or column.heading), escape(second or column.unit)


def _fit(lines: list[list[str]]) -> str:
    """Size and column distance at which the columns fit the text of an ``article``, by the letters of the widest."""
    letters = sum(max(len(INVISIBLE.sub("", cell)) for cell in column) for column in zip(*lines, strict=True))
    edges = max(2 * len(lines[0]) - 2, 1)
    distances = [(size, (TEXT_WIDTH - letters * width) / edges, least) for size, width, least in SIZES]
    size, distance, least = next((each for each in distances if each[1] >= each[2]), distances[-1])
    return rf"{size}\setlength{{\tabcolsep}}{{{max(min(distance, WIDEST_DISTANCE), least):.1f}pt}}"


def _cell(column: Column, row: Row, *, bold: bool) -> str:
    word, text = row.comparison.verdict, column.text(row, short=True)
    if not column.form or column.form == "verdict" or text == DASH:
        return escape(SHORT.get(word, text) if column.form == "verdict" and word else text)
    formula = text.replace("±", r"\pm").replace(",", "{,}")
    if column.join == " to ":
        formula = f"[{formula.replace(column.join, ', ')}]"
    return (
        rf"$\mathbf{{{formula}}}$"
        if bold and {"map50_95_mean", "top1_mean"} & column.numbers.keys()
        else f"${formula}$"
    )


def _legend(table: Table) -> list[str]:
    """One line per abbreviation of the table."""
    lines = []
    if any(_shows(table, key) for key in ("delta_mean", "delta_low", "simultaneous_low", "verdict")):
        lines.append(rf"delta: {table.headline} against {escape(table.reference)}, paired by seed.")
    if any(_shows(table, key) for key in ("p_adjusted", "simultaneous_low")) and any(
        row.comparison.p_adjusted is not None for row in table.rows
    ):
        lines.append(rf"p, simultaneous 95 \% CI: joint sign-flip test, {count(table.family, 'comparison')}.")
    if _shows(table, "fps"):
        devices = dict.fromkeys(row.cost.profiled_on for row in table.rows if row.cost.fps is not None)
        lines += [f"FPS: one image at a time, float32, on {escape(str(device))}." for device in devices]
    return [*lines, *_verdicts(table)] if _shows(table, "verdict") else lines


def _verdicts(table: Table) -> list[str]:
    """What the short verdicts mean."""
    lines = []
    if any(row.comparison.verdict is Verdict.NO_DIFFERENCE for row in table.rows):
        lines.append(f"n.s.: {VERDICTS[Verdict.NO_DIFFERENCE]}.")
    lines += [f"{escape(row.label)}: {verdict(row)}." for row in table.rows if row.seeds_verdict]
    diverged = [row for row in table.rows if row.comparison.verdict is Verdict.DIVERGED]
    if diverged:
        lines.append(f"diverged: {'; '.join(escape(f'{row.label}: {verdict(row)}') for row in diverged)}.")
    few = [row for row in table.rows if row.comparison.verdict is Verdict.TOO_FEW_SEEDS]
    needed = [str(row.comparison.seeds_needed) for row in few if row.comparison.in_family]
    needed += [f"{row.comparison.seeds_needed} for {escape(row.label)}" for row in few if not row.comparison.in_family]
    if needed:
        lines.append(f"few: too few seeds; needed are {', '.join(dict.fromkeys(needed))}.")
    return lines
