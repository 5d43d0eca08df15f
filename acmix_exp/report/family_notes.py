"""The notes on a family of comparisons: its size and tables, the seeds of the joint test, skewed deltas, the margin."""

from __future__ import annotations

import numpy as np

from acmix_exp.report import sample_size, sentences, sign_flips
from acmix_exp.report.comparison_families import Family
from acmix_exp.report.language import tr
from acmix_exp.report.notes import count, first_names
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.skew import Change, rests_on
from acmix_exp.report.statistics import Comparison

CHANGES = {
    Change.CLAIM_LOST: "without it, neither better nor worse",
    Change.CLAIM_NEW: "without it, better or worse",
    Change.SIGN: "without it, the other sign",
}


def family_notes(family: Family, table: int, reference: str) -> list[str]:
    """For a table, by its number from 1. What holds for the whole family stands below its first table."""
    if not family.comparisons:
        return []
    lines = [_size(family, table, reference)]
    if table == family.tables[0]:
        lines += [*_seeds(family), *_power(family), *family.plan_notes, *_skewed(family), family.margin_note]
    return [line for line in lines if line]


def _size(family: Family, table: int, reference: str) -> str:
    size, between = len(family.comparisons), family.between
    with_reference = tr(
        "{comparisons} with {reference}", comparisons=count(size - between, "comparison"), reference=reference
    )
    parts = [with_reference] if size > between else []
    parts += [tr("{number} between rows", number=between)] if between else []
    text = tr(" and ").join(parts)
    others = [str(number) for number in family.tables if number != table]
    if others:
        form = ", together with table {tables} of the same reference runs,"
        if len(others) > 1:
            form = ", together with tables {tables} of the same reference runs,"
        text += tr(form, tables=", ".join(others))
    used = (
        tr(", over the {seeds} that they have in common", seeds=count(len(family.seeds), "seed"))
        if family.seeds
        else ""
    )
    if family.looks:
        used = tr(", over the seeds of the look at which each is decided")
    form = "{comparisons} are one family of the joint sign-flip test{used}."
    if size == 1:
        form = "{comparisons} is a family of the joint sign-flip test{used}."
    needed = tr(" To call an arm better or worse needs at least {seeds} paired seeds.", seeds=sign_flips.seeds_needed())
    return tr(form, comparisons=text, used=used) + needed


def _seeds(family: Family) -> list[str]:
    if family.looks:
        return []
    sentences = []
    if lacking := family.lacking:
        names = first_names(dict.fromkeys(label for labels in lacking.values() for label in labels))
        form = "The joint test leaves out seed {seeds}, which not all compared arms have; missing in {arms}."
        if len(lacking) > 1:
            form = "The joint test leaves out seeds {seeds}, which not all compared arms have; missing in {arms}."
        text = tr(form, seeds=", ".join(map(str, lacking)), arms=names)
        sentences.append(text + tr(" More seeds of these would sharpen every verdict."))
    if left_out := family.left_out:
        text = "The joint test leaves out {arms}: too few seeds in common with the others."
        sentences.append(tr(text, arms=first_names(left_out)))
    return sentences


def _power(family: Family) -> list[str]:
    """The seeds that 0.5, 1 and 2 points need, at the spread of the joint test's deltas."""
    tested = [found for found in family.comparisons.values() if found.joint_seeds]
    sd = sample_size.pooled([[found.deltas[seed] for seed in found.joint_seeds] for found in tested])
    if sd is None or sd < sample_size.ROUNDING:
        return []
    seeds = {effect: sample_size.seeds_for(effect, sd, len(family.comparisons)) for effect in sample_size.EFFECTS}
    return [sentences.seeds_for_effects(seeds)]


def _skewed(family: Family) -> list[str]:
    """With seeds=auto the arms that one look decided are taken together, at the share of that look."""
    tested: dict[tuple[int, ...], list[tuple[str, Comparison]]] = {}
    for key, comparison in family.comparisons.items():
        if comparison.joint_seeds:
            tested.setdefault(tuple(comparison.joint_seeds), []).append((family.labels[key], comparison))
    found = []
    for seeds, arms in tested.items():
        deltas = np.array([[comparison.deltas[seed] for seed in seeds] for _, comparison in arms]).T
        decision = arms[0][1].decision
        found += [
            tr("{arm} rests on seed {seed} ({change})", arm=arms[arm][0], seed=seeds[seed], change=tr(CHANGES[change]))
            for arm, seed, change in rests_on(deltas, decision.share if decision else LEVEL)
        ]
    if not found:
        return []
    text = "Skewed deltas, for which the sign-flip test errs more often than in 5 % of families: {found}."
    return [tr(text, found="; ".join(found))]
