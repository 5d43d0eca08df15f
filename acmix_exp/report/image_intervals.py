"""Test-set noise of a table's mean deltas: the same resampled images in both arms, the seeds as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acmix_exp import outcomes
from acmix_exp.report.notes import listed
from acmix_exp.report.records import Record, Row
from acmix_exp.run.replicates import Replicates, interval, replicates

UNKNOWN = {"image_low": None, "image_high": None}


def image_intervals(pairs: Sequence[tuple[Row, Row | None]]) -> tuple[list[dict[str, float | None]], list[str]]:
    """For each row and its reference the 95 % interval of the mean delta over resampled images, and a note that names
    the runs for whose outcomes it is None; none where no run of the table has any."""
    columns, without = [], []
    faults: dict[str, dict[str, None]] = {}
    for row, other in pairs:
        found, broken = _interval(row, other)
        columns.append(found)
        without += [row.arm] if broken else []
        for run, reason in broken.items():
            faults.setdefault(reason, {})[run] = None
    runs = [record.run.path for row, _ in pairs for record in row.runs.values()]
    if not without or not any((path / outcomes.FILE).exists() for path in runs):
        return columns, []
    reasons = "; ".join(f"{reason} in {listed(names)}" for reason, names in faults.items())
    return columns, [f"{', '.join(dict.fromkeys(without))}: no image interval, for {reasons}"]


def _interval(row: Row, other: Row | None) -> tuple[dict[str, float | None], dict[str, str]]:
    """Also what is wrong by run; a pair lost is the interval lost, for its seeds would not be those of the delta."""
    differences, faults = [], {}
    for seed in sorted(row.runs.keys() & other.runs.keys()) if other else []:
        assert other is not None
        mine, theirs = row.runs[seed], other.runs[seed]
        read = [_replicates(record) for record in (mine, theirs)]
        for record, found in zip((mine, theirs), read, strict=True):
            if found is None:
                fault = "can't be read" if (record.run.path / outcomes.FILE).exists() else "is missing"
                faults[record.run.name] = f"{outcomes.FILE} {fault}"
        if read[0] is not None and read[1] is not None:
            if read[0].images != read[1].images:
                faults[mine.run.name] = f"the images are not those of {other.arm}"
            differences.append(read[0].map50_95 - read[1].map50_95)
    if faults or not differences:
        return dict(UNKNOWN), faults
    low, high = interval(np.mean(differences, axis=0))
    return {"image_low": low, "image_high": high}, faults


def _replicates(record: Record) -> Replicates | None:
    assert record.result is not None
    split = str(record.result["metrics"].get("split"))
    return replicates(record.run.path, str(record.identity.get("data")), split)
