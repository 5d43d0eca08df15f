"""The check of the harness: arm identity must train exactly as the stock network does, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from acmix_exp.config import IDENTITY
from acmix_exp.report.records import ArmRuns, Record
from acmix_exp.report.sign_flips import LEVEL
from acmix_exp.report.statistics import Comparison, Verdict


@dataclass(frozen=True)
class HarnessCheck:
    """Seeds that are equal in every epoch, equal in the headline alone, and different, with the recorded causes."""

    equal: list[int] = field(default_factory=list)
    without_history: list[int] = field(default_factory=list)
    different: dict[int, list[str]] = field(default_factory=dict)


def is_harness_check(row: ArmRuns, reference: ArmRuns) -> bool:
    """Whether identity and the stock network are compared, with either as the reference."""
    return {row.block, reference.block} == {IDENTITY, None}


def check_harness(row: ArmRuns, stock: ArmRuns) -> HarnessCheck:
    """Compare the headline and the losses and metrics of every epoch, for the seeds that both have.

    Runs that diverged are equal if both did, after equal epochs.
    """
    check = HarnessCheck()
    own, others = ({**arm.diverged, **arm.runs} for arm in (row, stock))
    for seed in sorted(own.keys() & others.keys()):
        pair = own[seed], others[seed]
        whole = all(record.diverged or len(record.history) >= _epochs(record) for record in pair)
        curves_differ = whole and _curves(pair[0]) != _curves(pair[1])
        if curves_differ or _headline(pair[0]) != _headline(pair[1]):
            check.different[seed] = list(_causes(*pair))
        else:
            (check.equal if whole else check.without_history).append(seed)
    return check


def harness_verdict(check: HarnessCheck, comparison: Comparison) -> Verdict | None:
    """A fault if a seed differs without a recorded cause, or if the seeds differ significantly with one.

    comparison: with the stock network. None if no seed is in both.
    """
    if not (check.equal or check.without_history or check.different):
        return None
    significant = comparison.p is not None and comparison.p <= LEVEL
    unexplained = any(not causes for causes in check.different.values())
    return Verdict.HARNESS_FAULT if unexplained or significant else Verdict.HARNESS_OK


def _curves(record: Record) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record.history]


def _headline(record: Record) -> tuple[float | None, ...] | None:
    names = ("map50_95", "map50", "top1", "top5")
    return tuple(getattr(record.result, name) for name in names) if record.result else None


def _epochs(record: Record) -> int:
    """How many rows a whole history has: no run ends early."""
    epochs = (record.identity.get("train") or {}).get("epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def _causes(record: Record, other: Record) -> Iterator[str]:
    """Recorded causes that may explain a difference between two runs that should be equal."""
    yield from (f"{run.arm} was resumed" for run in (record, other) if run.resume_flaw)
    yield from (
        f"another {fact}" for fact, value in record.made_with.items() if other.made_with.get(fact, value) != value
    )
    if "cuda" in ((run.identity.get("hardware") or {}).get("device") for run in (record, other)):
        yield "rounding on a GPU"
