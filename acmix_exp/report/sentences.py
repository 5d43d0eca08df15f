"""Numbers and findings in words: how a number is rounded, and the only place where a verdict becomes a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from acmix_exp.report.language import tr
from acmix_exp.report.notes import count, first_names
from acmix_exp.report.records import ArmRuns, Contrast, Row, Table
from acmix_exp.report.sample_size import CONFIDENCE, POWER, RUN_TO_DELTA
from acmix_exp.report.statistics import Comparison, Verdict

DASH = "–"
# Formats of numbers; P_VALUE is not one of Python's.
MAP, DELTA, P_VALUE = ".3f", "+.3f", "p"

VERDICTS = {
    Verdict.REFERENCE: "reference",
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.EQUIVALENT: "equivalent within {margin}",
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
    Verdict.INTERIM: ", not all planned seeds are done",
}
BETWEEN = {Verdict.BETTER: "{arm} is better than {other}", Verdict.WORSE: "{arm} is worse than {other}"}

HARNESS = (Verdict.HARNESS_OK, Verdict.HARNESS_FAULT)
# What one arm is, and what several are, in the finding of a page.
PREDICATES = {
    Verdict.BETTER: ("is better than {reference}", "are better than {reference}"),
    Verdict.WORSE: ("is worse than {reference}", "are worse than {reference}"),
    Verdict.EQUIVALENT: (
        "is equivalent to {reference} within {margin}",
        "are equivalent to {reference} within {margin}",
    ),
    Verdict.NO_DIFFERENCE: (
        "does not differ significantly from {reference}",
        "do not differ significantly from {reference}",
    ),
    Verdict.TOO_FEW_SEEDS: (
        "has too few seeds to be called better or worse than {reference}, which needs at least {needed}",
        "have too few seeds to be called better or worse than {reference}, which needs at least {needed}",
    ),
    Verdict.INTERIM: (
        "is not judged yet, because not all planned seeds are done",
        "are not judged yet, because not all planned seeds are done",
    ),
    Verdict.DIVERGED: ("diverged in some runs", "diverged in some runs"),
}
MOST_NAMED = 4  # arms without a finding, in one sentence
UNDECIDED = (Verdict.NO_DIFFERENCE, Verdict.TOO_FEW_SEEDS, Verdict.INTERIM)


def format_number(value: float | str | None, form: str) -> str:
    """The number in a format, text as it is, a dash for None."""
    if value is None:
        return DASH
    if isinstance(value, str) or not form:
        return str(value)
    if form == P_VALUE:
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return format(value, form)


def verdict(row: Row | Contrast, *, short: bool = False, complement: str = "") -> str:
    """The verdict in words; ``short`` for a narrow column. ``complement``: what follows it in a sentence."""
    word, diverged = row.comparison.verdict, _diverged(row)
    if word is None:
        return DASH
    if word is Verdict.DIVERGED:
        return diverged.replace("runs ", "") if short else diverged
    if short:
        return tr(word.replace("_", " "))
    margin = format_number(row.comparison.margin, "g")
    text = tr(VERDICTS[row.seeds_verdict or word], needed=row.comparison.seeds_needed, margin=margin) + complement
    text += _of_these_images(row)
    return ", ".join(filter(None, (text, _look(row.comparison), diverged)))


def _look(found: Comparison) -> str:
    """With seeds=auto the look that decided an arm, or that it goes on to; else empty."""
    if found.goes_on_to:
        return tr("next look at {number} seeds", number=found.goes_on_to)
    return tr("decided at {number} seeds", number=found.look) if found.look else ""


def _of_these_images(row: Row | Contrast) -> str:
    """What limits a finding to the test images of the runs; empty if nothing does."""
    if row.seeds_verdict:
        return tr(" on these test images only")
    margin, excludes = row.comparison.margin, row.population.excludes
    if row.comparison.verdict is Verdict.EQUIVALENT and margin and excludes and excludes > margin:
        return tr(" on these test images only")
    return ""


def seeds_alone(rows: Sequence[Row | Contrast], reasons: Mapping[str, Iterable[str]]) -> str:
    """The note on claims that could not be compared with what other test images would give, and why, by run."""
    found = ", ".join(tr("{arm} is {verdict}", arm=row.label, verdict=tr(str(row.comparison.verdict))) for row in rows)
    why = "; ".join(
        tr("{reason} in {runs}", reason=reason, runs=first_names(names)) for reason, names in reasons.items()
    )
    text = "{found} by seeds alone: nothing is known about other test images, because {why}"
    return tr(text, found=found, why=why)


def _diverged(row: Row | Contrast) -> str:
    """How many runs of the row, and of the row that it is compared with, diverged; empty if none."""
    own, reference = row.runs, row.reference
    parts = [tr("{runs} diverged", runs=_counted(own))] if own.diverged else []
    if reference and reference.diverged:
        parts.append(tr("{runs} of {arm} diverged", runs=_counted(reference), arm=reference.label))
    return ", ".join(parts)


def _counted(runs: ArmRuns) -> str:
    return tr("{some} of {all} runs", some=len(runs.diverged), all=len(runs.diverged) + len(runs.runs))


def is_compared(row: Row) -> bool:
    """Whether there is a finding on the row beside its numbers."""
    return bool(row.comparison.deltas) or row.comparison.verdict is Verdict.DIVERGED


def lead(table: Table) -> str:
    """The finding of a table in a sentence per verdict."""
    labels: dict[str, list[str]] = {}
    for word in Verdict:
        for row in table.rows:
            if row.comparison.verdict is word and is_compared(row):
                complement = COMPLEMENTS.get(row.seeds_verdict or word, "")
                follows = tr(complement, reference=table.reference) if complement else ""
                text = verdict(row, complement=follows)
                labels.setdefault(text[0].upper() + text[1:], []).append(row.label)
    if labels:
        found = [tr("{finding}: {arms}.", finding=words, arms=", ".join(rows)) for words, rows in labels.items()]
        return " ".join([*found, *_between(table)])
    if table.pairs:
        return " ".join(_between(table))
    if not any(row.n for row in table.rows):
        return tr("No run is finished yet.")
    return tr("There is nothing to compare with: no pair of finished runs of an arm and its reference shares a seed.")


def headline(table: Table) -> str:
    """The finding of a table in one sentence, with the number of seeds and what is excluded."""
    return _finding([table]) or lead(table)


def overall(tables: Sequence[Table]) -> str:
    """The finding of several tables in one sentence; empty unless they compare other arms with the same runs."""
    references = {
        frozenset(record.name for row in table.rows if row.arm == table.reference for record in row.runs.records)
        for table in tables
    }
    labels = [row.label for table in tables for row in _found(table)]
    shared = len(tables) > 1 and len(references) == 1 and all(references)
    return _finding(tables) if shared and len(labels) == len(set(labels)) else ""


def _found(table: Table) -> list[Row]:
    """The rows on which there is a finding, without controls of the harness."""
    return [row for row in table.rows if is_compared(row) and row.comparison.verdict not in HARNESS]


def _finding(tables: Sequence[Table]) -> str:
    """The finding of tables with one reference and one metric; empty if nothing is compared."""
    table, rows = tables[0], [row for each in tables for row in _found(each)]
    if not rows:
        return ""
    groups: dict[str, list[Row]] = {}
    for word in Verdict:
        for row in rows:
            if row.comparison.verdict is word:
                groups.setdefault(_predicate(row, table.reference, 2), []).append(row)
    parts = [_subject(group, rows, table.reference, predicate) for predicate, group in groups.items()]
    text = "; ".join(parts)
    seeds = sorted({row.comparison.n for row in rows if row.comparison.n})
    if seeds:
        ends = tr("{first} to {last}", first=seeds[0], last=seeds[-1]) if len(seeds) > 1 else str(seeds[0])
        text += tr(" ({number} paired seed)" if seeds == [1] else " ({number} paired seeds)", number=ends)
    open_rows = [row for row in rows if row.comparison.verdict in UNDECIDED and row.comparison.n]
    limits = [row.comparison.excludes for row in open_rows]
    known = [limit for limit in limits if limit is not None]
    if known and len(known) == len(limits) and max(known) > 0:  # 0: they have not learned the task, see notes.py
        limit = f"±{format_number(max(known), MAP)} {table.headline}"
        if len(known) > 1:
            text += tr("; differences beyond {limit} are excluded for each of them", limit=limit)
        elif len(rows) > 1:
            text += tr("; differences beyond {limit} are excluded for {arm}", limit=limit, arm=open_rows[0].label)
        else:
            text += tr("; differences beyond {limit} are excluded", limit=limit)
    begins_with_a_name = text.startswith(tuple(f"{row.label}{after}" for row in rows for after in (" ", ",")))
    return tr("{sentence}.", sentence=text if begins_with_a_name else f"{text[0].upper()}{text[1:]}")


def _predicate(row: Row, reference: str, number: int) -> str:
    """What the verdict says of one row or of several."""
    word = row.seeds_verdict or row.comparison.verdict
    assert word is not None
    margin = format_number(row.comparison.margin, "g")
    forms = PREDICATES.get(word, ("is the reference", "are the reference"))
    text = tr(forms[number > 1], reference=reference, margin=margin, needed=row.comparison.seeds_needed)
    return text + _of_these_images(row)


def _subject(group: Sequence[Row], rows: Sequence[Row], reference: str, predicate: str) -> str:
    """A clause on the rows of a group, with their numbers where a difference was found."""
    found = group[0].seeds_verdict or group[0].comparison.verdict
    if len(group) == len(rows) > 2:
        if found is Verdict.NO_DIFFERENCE:
            return tr(
                "none of the {number} arms differs significantly from {reference}",
                number=len(rows),
                reference=reference,
            )
        return tr("all {number} arms {predicate}", number=len(rows), predicate=predicate)
    if len(group) > MOST_NAMED and found in UNDECIDED:
        form = "the other {number} arms {predicate}" if len(group) < len(rows) else "{number} arms {predicate}"
        return tr(form, number=len(group), predicate=predicate)
    decided = found in (Verdict.BETTER, Verdict.WORSE)
    names = [f"{row.label} ({format_number(row.comparison.mean, DELTA)})" if decided else row.label for row in group]
    return f"{_listed(names)} {predicate if len(group) > 1 else _predicate(group[0], reference, 1)}"


def _between(table: Table) -> list[str]:
    """The differences between rows that were found."""
    found = [
        tr(BETWEEN[pair.comparison.verdict], arm=pair.runs.label, other=pair.reference.label)
        for pair in table.pairs
        if pair.comparison.verdict in BETWEEN
    ]
    if not table.pairs:
        return []
    return [tr("Between the rows: {found}.", found="; ".join(found) or tr("no difference is significant"))]


def conclusion(row: Row, reference: str) -> str:
    """The finding on a row, in words."""
    found, images = row.comparison, row.images
    if not found.n:
        return tr("No seed of it finished in both arms.")
    mean = f"{format_number(found.mean, DELTA)} {row.runs.headline}"
    text = tr("{mean} against {reference}", mean=mean, reference=reference)
    if found.low is not None:
        text += tr(", 95 % CI {interval}", interval=_interval(found.low, found.high))
    if images.low is not None:
        text += tr(" over seeds and {interval} over test images", interval=_interval(images.low, images.high))
    if found.simultaneous_low is not None:
        ends = _interval(found.simultaneous_low, found.simultaneous_high)
        text += tr(", simultaneous {interval}", interval=ends)
    if row.population.low is not None:
        ends = _interval(row.population.low, row.population.high)
        text += tr(", for another seed and another test set {interval}", interval=ends)
    if found.p_adjusted is not None:
        text += tr(", p (joint test) {p}", p=format_number(found.p_adjusted, P_VALUE))
    text = tr("{sentence}.", sentence=f"{text}, {count(found.n, 'paired seed')}")
    if found.excludes is not None and found.in_family:
        text += tr(" Differences beyond {limit} are excluded.", limit=f"±{format_number(found.excludes, MAP)}")
    return text + tr(" These numbers are of the runs that finished.") if _diverged(row) else text


def _interval(*ends: float | None) -> str:
    return tr(" to ").join(format_number(end, DELTA) for end in ends)


def prospect(seeds: int, fewest: int, found: float | None, power: float = POWER) -> str:
    """What so many seeds can and cannot show.

    fewest: seeds with which a verdict is possible. found: the true difference that is found with the probability
    ``power``, by so many seeds or by the fewest; None if it is not known.
    """
    text = count(seeds, "seed")
    if seeds < fewest:
        text += f": no arm can be called better or worse; at least {fewest} are needed"
        return text if found is None else f"{text}; with {fewest}, differences above about {difference(found)}"
    if found is None:
        return f"{text}: enough to call an arm better or worse, which needs at least {fewest}"
    return f"{text}: true differences above about {difference(found)} are found {often(power)}"


def seeds_for_effects(seeds: Mapping[float, int]) -> str:
    """seeds: by true difference."""
    effects, numbers = _listed([f"{effect:g}" for effect in seeds]), _listed([*map(str, seeds.values())])
    text = "At this spread true differences of {effects} need {numbers} seeds to be found {often}."
    return tr(text, effects=effects, numbers=numbers, often=often(POWER))


def _listed(texts: Sequence[str]) -> str:
    return tr("{first} and {last}", first=", ".join(texts[:-1]), last=texts[-1]) if len(texts) > 1 else "".join(texts)


def nothing_compared(reference: str) -> str:
    return f"{reference} alone: there is nothing to compare it with"


def difference(value: float) -> str:
    """A difference in mAP without a sign, with two digits that count."""
    return f"{value:.2g}"


def often(power: float) -> str:
    return tr("with {percent} % probability", percent=f"{100 * power:.0f}")


def sd_seen(sd: float, upper: float | None, seeds: int, of_deltas: bool) -> str:
    text = f"standard deviation of a delta: {sd:.3g}, over {count(seeds, 'seed')}"
    if not of_deltas:
        text += f", {RUN_TO_DELTA:.4g} times that of a run, as no two arms share seeds"
    return text if upper is None else f"{text}; its upper limit ({100 * CONFIDENCE:.0f} %): {upper:.3g}"


def sd_given(sd: float, of_delta: float) -> str:
    return (
        f"sd={sd:g} is that of a run; a delta has {RUN_TO_DELTA:.4g} times that where seeds do not correlate between "
        f"arms: {of_delta:.3g}. Its upper limit needs the runs that it is from"
    )


def compared_arms(family: int, reference: str, arms: int) -> str:
    return f"{count(family, 'comparison')} with {reference}, {count(arms, 'row')} to train"


def power_of_seeds(seeds: int, fewest: int, found: float | None, at_limit: float | None, power: float) -> str:
    """As prospect; ``at_limit``: what is found at the upper limit of the spread."""
    text = prospect(seeds, fewest, found, power)
    return text if at_limit is None else f"{text}; at the upper limit of the spread {difference(at_limit)}"


def time_of_runs(seconds: float | None, at_once: int, machine: str, folder: str) -> str:
    if seconds is None:
        return f"time: not known, because {folder} has no finished run"
    on = f" on {machine}" if machine else ""
    return (
        f"time: of all rows and seeds, finished ones included, {count(at_once, 'run')} at once; a run took "
        f"{seconds / 60:.1f} min{on}"
    )


def power_of(level: float, fewest: int) -> str:
    return (
        f"seeds: the fewest with which one arm that truly differs is called better or worse {often(level)}, by the "
        f"joint sign-flip test at 5 % and with normal deltas; at least {fewest}"
    )
