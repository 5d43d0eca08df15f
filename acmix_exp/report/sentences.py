"""Numbers and findings in words: how a number is rounded, and the only place where a verdict becomes a sentence."""

from __future__ import annotations

from acmix_exp.report.notes import count
from acmix_exp.report.records import ArmRuns, Row, Table
from acmix_exp.report.statistics import Verdict

DASH = "–"
# Formats of numbers; P_VALUE is not one of Python's.
MAP, DELTA, P_VALUE = ".3f", "+.3f", "p"

VERDICTS = {
    Verdict.REFERENCE: "reference",
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.NO_DIFFERENCE: "no significant difference",
    Verdict.TOO_FEW_SEEDS: "too few seeds ({needed} needed)",
    Verdict.INTERIM: "interim",
    Verdict.DIVERGED: "diverged",
    Verdict.HARNESS_OK: "harness check passed",
    Verdict.HARNESS_FAULT: "harness check FAILED",
}
# What follows these words in the finding of a table.
COMPLEMENTS = {
    Verdict.BETTER: " than {reference}",
    Verdict.WORSE: " than {reference}",
    Verdict.EQUIVALENT: " to {reference}",
    Verdict.NO_DIFFERENCE: " to {reference}",
    Verdict.INTERIM: ", not all seeds are finished",
}


def format_number(value: float | str | None, form: str) -> str:
    """The number in a format, text as it is, a dash for None."""
    if value is None:
        return DASH
    if isinstance(value, str) or not form:
        return str(value)
    if form == P_VALUE:
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return format(value, form)


def verdict(row: Row, *, short: bool = False, complement: str = "") -> str:
    """The verdict in words; ``short`` for a narrow column. ``complement``: what follows it in a sentence."""
    word, diverged = row.comparison.verdict, _diverged(row)
    if word is None:
        return DASH
    if word is Verdict.DIVERGED:
        return diverged.replace("runs ", "") if short else diverged
    if short:
        return word.replace("_", " ")
    text = VERDICTS[word].format(needed=row.comparison.seeds_needed) + complement
    return ", ".join(filter(None, (text, diverged)))


def _diverged(row: Row) -> str:
    """How many runs of the row, and of the row that it is compared with, diverged; empty if none."""
    own, reference = row.runs, row.reference
    parts = [f"{_counted(own)} diverged"] if own.diverged else []
    if reference and reference.diverged:
        parts.append(f"{_counted(reference)} of {reference.label} diverged")
    return ", ".join(parts)


def _counted(runs: ArmRuns) -> str:
    return f"{len(runs.diverged)} of {len(runs.diverged) + len(runs.runs)} runs"


def is_compared(row: Row) -> bool:
    """Whether there is a finding on the row beside its numbers."""
    return bool(row.comparison.deltas) or row.comparison.verdict is Verdict.DIVERGED


def lead(table: Table) -> str:
    """The finding of a table in a sentence per verdict."""
    labels: dict[str, list[str]] = {}
    for word in Verdict:
        for row in table.rows:
            if row.comparison.verdict is word and is_compared(row):
                text = verdict(row, complement=COMPLEMENTS.get(word, "").format(reference=table.reference))
                labels.setdefault(text[0].upper() + text[1:], []).append(row.label)
    if labels:
        return " ".join(f"{sentence}: {', '.join(rows)}." for sentence, rows in labels.items())
    if not any(row.n for row in table.rows):
        return "No run is finished yet."
    return "There is nothing to compare with: no pair of finished runs of an arm and its reference shares a seed."


def conclusion(row: Row, reference: str) -> str:
    """The finding on a row, in words."""
    delta, images = row.comparison.delta, row.images
    if not delta.n:
        return "No seed of it finished in both arms."
    text = f"{format_number(delta.mean, DELTA)} mAP50-95 against {reference}"
    if delta.low is not None:
        text += f", 95 % CI {_interval(delta.low, delta.high)}"
    if images.low is not None:
        text += f" over seeds and {_interval(images.low, images.high)} over test images"
    if row.comparison.p_adjusted is not None:
        text += f", p (Holm) {format_number(row.comparison.p_adjusted, P_VALUE)}"
    text = f"{text}, {count(delta.n, 'paired seed')}."
    return f"{text} These numbers are of the runs that finished." if _diverged(row) else text


def _interval(*ends: float | None) -> str:
    return " to ".join(format_number(end, DELTA) for end in ends)
