"""What the planned seeds make of a family's verdicts: interim, seeds added later, and the looks of seeds=auto.

A verdict that is looked for again after each run errs far more often than the 5 % of one test at planned seeds:
Armitage, McPherson & Rowe, Journal of the Royal Statistical Society A 132 (1969). So a verdict is given when all
planned seeds are done, and seeds that were added afterwards are named. Runs of versions that did not record their plan
are judged as they are.

For callers: :func:`with_plan`, which ``families.py`` calls for each family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from acmix_exp.report import sign_flips
from acmix_exp.report.language import tr
from acmix_exp.report.planned import start
from acmix_exp.report.records import ArmRuns, Record
from acmix_exp.report.sequential import Arm, Decision, Looks, Progress, decide
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.statistics import Comparison, Verdict

Pair = tuple[ArmRuns, ArmRuns]
MOST_ROWS = 5  # that a note names


@dataclass(frozen=True)
class Planned:
    """The comparisons of a family, judged by the plan of their seeds, and notes on it. looks: of seeds=auto."""

    comparisons: list[Comparison]
    notes: list[str]
    looks: Looks | None = None


def with_plan(
    pairs: Sequence[Pair],
    labels: Sequence[str],
    with_reference: Sequence[bool],
    margin: float | None,
    compared: Callable[[Sequence[Pair]], list[Comparison]],
) -> Planned:
    """The comparisons of a family of pairs of rows. compared: what the test says of them by the runs alone."""
    comparisons = compared(pairs)
    if looks := looks_of(record for pair in pairs for row in pair for record in row.all_records):
        return _by_looks(pairs, labels, with_reference, margin, comparisons, looks)
    if lacking := _lacking(pairs):
        return Planned([replace(comparison, verdict=Verdict.INTERIM) for comparison in comparisons], [lacking])
    note = _added_later(pairs, labels, comparisons, compared)
    return Planned(comparisons, [note] if note else [])


def looks_of(records: Iterable[Record]) -> Looks | None:
    """The plan of seeds=auto, of the run that was started first of those that have one; None without any."""
    for record in sorted(records, key=start):
        if looks := recorded_looks(record.provenance.get("seeds_plan")):
            return looks
    return None


def recorded_looks(recorded: Any) -> Looks | None:
    """``seeds_plan`` of a provenance.json; None if it is missing or damaged."""
    try:
        looks = Looks(tuple(map(int, recorded["looks"])), tuple(map(float, recorded["shares"])))
    except (KeyError, TypeError, ValueError):
        return None
    rising = all(low < high for low, high in zip((1, *looks.seeds), looks.seeds, strict=False))
    sound = sum(looks.shares) <= LEVEL + sign_flips.TOLERANCE and all(share >= 0 for share in looks.shares)
    return looks if rising and sound and len(looks.seeds) == len(looks.shares) > 0 else None


def _lacking(pairs: Sequence[Pair]) -> str:
    """A note if a row of the family has planned seeds that are not done; empty if all are."""
    parts = []
    for row in _rows(pairs):
        planned = {seed for record in row.all_records for seed in record.planned_seeds}
        done = planned & (row.runs.keys() | row.diverged.keys())
        if done < planned:
            parts.append(tr("{arm} {done} of {planned}", arm=row.label, done=len(done), planned=len(planned)))
    if not parts:
        return ""
    parts = list(dict.fromkeys(parts))
    more = tr(" and {number} more rows", number=len(parts) - MOST_ROWS) if len(parts) > MOST_ROWS + 1 else ""
    named = ", ".join(parts[:MOST_ROWS] if more else parts)
    text = (
        "Interim: not all planned seeds are done ({arms}). A verdict that is read off before would be false more often "
        "than in 5 % of families."
    )
    return tr(text, arms=f"{named}{more}")


def _added_later(
    pairs: Sequence[Pair],
    labels: Sequence[str],
    comparisons: Sequence[Comparison],
    compared: Callable[[Sequence[Pair]], list[Comparison]],
) -> str:
    """A note on seeds that a later command added, with the verdicts of the planned ones alone; empty if there are none.

    As long as the planned seeds are too few for any verdict, nothing could be read off them: those of the next command
    are then part of the plan, and the error rate stands.
    """
    rows = _rows(pairs)
    first = {id(row): _planned_first(row, enough=False) for row in rows}
    plans = {id(row): _planned_first(row, enough=True) for row in rows}
    added = sorted({seed for row in rows if first[id(row)] for seed in row.runs.keys() - first[id(row)]})
    if not added:
        return ""
    form = (
        "{seeds} was added later to the planned ones"
        if len(added) == 1
        else "{seeds} were added later to the planned ones"
    )
    what = tr(form, seeds=_seeds(added))
    if not any(row.runs.keys() - plans[id(row)] for row in rows if plans[id(row)]):
        return what + tr(", which were too few for any verdict: the 5 % stand.")
    restricted = [(_only(row, plans), _only(other, plans)) for row, other in pairs]
    found = compared(restricted)
    alone = "; ".join(
        f"{label} {_word(comparison)}"
        + ("" if comparison.verdict is now.verdict else tr(", not {verdict}", verdict=_word(now)))
        for label, comparison, now in zip(labels, found, comparisons, strict=True)
    )
    text = ": the 5 % of false claims no longer hold as stated. The verdicts of the planned seeds alone: {verdicts}."
    return what + tr(text, verdicts=alone)


def _planned_first(row: ArmRuns, *, enough: bool) -> set[int]:
    """The seeds that were planned for a row by the command of its first run; enough: and by later ones until a verdict
    was possible. Empty if that was not recorded."""
    planned: set[int] = set()
    for record in sorted([*row.runs.values(), *row.diverged.values()], key=start):
        if not planned or (enough and sign_flips.floor(len(planned)) > LEVEL):
            planned |= set(record.planned_seeds)
    return planned


def _only(row: ArmRuns, plans: dict[int, set[int]]) -> ArmRuns:
    """The row without the seeds that were added to its plan."""
    if not (plan := plans[id(row)]):
        return row
    kept = {seed: record for seed, record in row.runs.items() if seed in plan}
    return replace(row, runs=kept, diverged={seed: record for seed, record in row.diverged.items() if seed in plan})


def _by_looks(
    pairs: Sequence[Pair],
    labels: Sequence[str],
    with_reference: Sequence[bool],
    margin: float | None,
    comparisons: Sequence[Comparison],
    looks: Looks,
) -> Planned:
    """By the plan of seeds=auto. Comparisons between rows are no part of it, and have no verdict."""
    arms = {
        place: Arm(
            {seed: delta for seed, delta in comparisons[place].deltas.items() if seed < looks.seeds[-1]},
            _ended(pair[0]) & _ended(pair[1]),
        )
        for place, pair in enumerate(pairs)
        if with_reference[place]
    }
    progress = decide(arms, looks, margin)
    judged = [_judged(comparison, place, progress, looks) for place, comparison in enumerate(comparisons)]
    return Planned(judged, _look_notes(labels, judged, looks), looks)


def _judged(comparison: Comparison, place: int, progress: Progress[int], looks: Looks) -> Comparison:
    comparison = replace(comparison, detectable=None)  # that is of a fixed number of seeds
    if (decision := progress.decisions.get(place)) is None:
        goes_on = place in progress.running
        return replace(
            comparison,
            joint_seeds=(),
            simultaneous_low=None,
            simultaneous_high=None,
            p_adjusted=None,
            p_floor=None,
            excludes=None,
            verdict=Verdict.INTERIM if goes_on else None,
            goes_on_to=progress.seeds if goes_on else None,
        )
    tested = tuple(range(decision.seeds))
    return replace(
        comparison,
        p_adjusted=decision.p,
        p_floor=sign_flips.floor(decision.seeds),
        simultaneous_low=decision.low,
        simultaneous_high=decision.high,
        joint_seeds=tested if decision.p is not None else (),
        excludes=looks.excluded([comparison.deltas[seed] for seed in tested]) if decision.p is not None else None,
        verdict=decision.verdict,
        decision=decision,
    )


def _look_notes(labels: Sequence[str], comparisons: Sequence[Comparison], looks: Looks) -> list[str]:
    lines = [plan_line(looks), *decision_lines(zip(labels, comparisons, strict=True))]
    decided = {label: found for label, found in zip(labels, comparisons, strict=True) if found.decision}
    claims = [found.decision for found in decided.values() if found.verdict in (Verdict.BETTER, Verdict.WORSE)]
    if any(decision and decision.seeds < looks.seeds[-1] for decision in claims):
        lines.append(tr("Differences that were decided early are on average overestimated."))
    for label, found in decided.items():
        if more := [seed for seed in found.deltas if found.decision and seed >= found.decision.seeds]:
            text = "{seeds} of {arm} came after its look: in the means, not in the verdict."
            lines.append(tr(text, seeds=_seeds(more), arm=label))
    return lines


def plan_line(looks: Looks) -> str:
    """The looks with their shares and the smallest p that each can give."""
    parts = [
        tr(
            "{share} at {seeds} seeds (smallest p {p})"
            if looks.can_claim(number)
            else "{share} at {seeds} seeds (smallest p {p}: can stop an arm, not call it better or worse)",
            share=f"{share:g}",
            seeds=seeds,
            p=f"{sign_flips.floor(seeds):.2g}",
        )
        for number, (seeds, share) in enumerate(zip(looks.seeds, looks.shares, strict=True))
    ]
    return tr("seeds=auto: the looks share the 5 % of false claims: {looks}.", looks=", ".join(parts))


def decision_lines(arms: Iterable[tuple[str, Comparison]]) -> list[str]:
    """A line per look with what it decided, and one per look that arms, given by label, go on to."""
    decided: dict[int, list[str]] = {}
    goes_on: dict[int, list[str]] = {}
    for label, found in arms:
        if found.decision:
            decided.setdefault(found.decision.seeds, []).append(f"{label} {_outcome(found.decision)}")
        elif found.goes_on_to:
            goes_on.setdefault(found.goes_on_to, []).append(label)
    return [
        *(
            tr("Decided at {seeds} seeds: {arms}.", seeds=seeds, arms=", ".join(decided[seeds]))
            for seeds in sorted(decided)
        ),
        *(
            tr("To be tested at {seeds} seeds: {arms}.", seeds=seeds, arms=", ".join(goes_on[seeds]))
            for seeds in sorted(goes_on)
        ),
    ]


def _outcome(decision: Decision) -> str:
    if decision.verdict is Verdict.NO_DIFFERENCE and decision.chance is not None:
        text = "no difference (stopped: a later verdict has a chance of {percent} %)"
        return tr(text, percent=f"{100 * decision.chance:.0f}")
    return tr(decision.verdict.replace("_", " "))


def _ended(row: ArmRuns) -> set[int]:
    return {*row.runs, *row.diverged}


def _rows(pairs: Sequence[Pair]) -> list[ArmRuns]:
    """Each row once, references before what is compared with them."""
    return list({id(row): row for pair in pairs for row in reversed(pair)}.values())


def _seeds(seeds: Sequence[int]) -> str:
    return tr("Seeds {numbers}" if len(seeds) > 1 else "Seed {numbers}", numbers=", ".join(map(str, seeds)))


def _word(comparison: Comparison) -> str:
    return tr("no verdict" if comparison.verdict is None else comparison.verdict.replace("_", " "))
