"""The uncertainty of a mean difference due to the test images: both arms on the same resampled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from acmix_exp.outcomes import FILE
from acmix_exp.report.language import tr
from acmix_exp.report.notes import first_names
from acmix_exp.report.records import ArmRuns, Interval
from acmix_exp.report.sign_flips import LEVEL


def image_intervals(pairs: Sequence[tuple[ArmRuns, ArmRuns | None]]) -> tuple[list[Interval], list[str]]:
    """For each row and its reference the 95 % interval of the mean delta over resampled images, seeds fixed.

    Also a note that names the runs whose outcomes are missing or damaged, unless no run of the table has any.
    """
    intervals, without = [], []
    reasons: dict[str, dict[str, None]] = {}
    for row, reference in pairs:
        interval, faults = _interval(row, reference)
        intervals.append(interval)
        without += [row.arm] if faults else []
        for run, reason in faults.items():
            reasons.setdefault(reason, {})[run] = None
    paths = [record.run.path for row, _ in pairs for record in row.runs.values()]
    if not without or not any((path / FILE).exists() for path in paths):
        return intervals, []
    why = "; ".join(
        tr("{reason} in {runs}", reason=reason, runs=first_names(names)) for reason, names in reasons.items()
    )
    arms = ", ".join(dict.fromkeys(without))
    return intervals, [tr("{arms}: no interval over images, because {why}", arms=arms, why=why)]


@dataclass(frozen=True)
class Differences:
    """The headline of a row less that of its reference on resampled images, for the seeds that both have.

    values: [seeds, resamples], None if a run has no outcomes: then the seeds would not be those of the delta.
    images: the number of images. faults: why, by run.
    """

    seeds: list[int]
    values: np.ndarray | None = None
    images: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)


def replicate_differences(row: ArmRuns, reference: ArmRuns | None) -> Differences:
    if reference is None:
        return Differences([])
    seeds = sorted(row.runs.keys() & reference.runs.keys())
    differences, faults, images = [], {}, 0
    for seed in seeds:
        pair = row.runs[seed], reference.runs[seed]
        for record in pair:
            if record.replicates is None:
                exists = (record.run.path / FILE).exists()
                faults[record.name] = tr("{file} cannot be read" if exists else "{file} is missing", file=FILE)
        first, second = (record.replicates for record in pair)
        if first is not None and second is not None:
            if first.images != second.images:
                faults[pair[0].name] = tr("the images are not those of {arm}", arm=reference.arm)
            differences.append(first.headline - second.headline)
            images = first.count
    return Differences(seeds, None if faults or not seeds else np.array(differences), images, faults)


def _interval(row: ArmRuns, reference: ArmRuns | None) -> tuple[Interval, Mapping[str, str]]:
    differences = replicate_differences(row, reference)
    if differences.values is None:
        return Interval(), differences.faults
    low, high = np.quantile(differences.values.mean(0), [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(low), float(high)), {}
