"""Test-set noise beside that of seeds, and runs whose outcomes are not to be had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acmix_exp.run.replicates import multiplicities
from tests.report.builders import summary
from tests.run.test_replicates import random_outcomes, scored_by_ultralytics


def rows(table):
    return {row["arm"]: row for row in table["rows"]}


def test_noise_of_images_beside_that_of_seeds(folder, add):
    """The interval is that of the mean delta over the seeds, the same replicate in both arms."""
    for seed in range(3):
        for arm in ("baseline", "mixed"):
            random_outcomes(seed + 10 * (arm == "mixed"), images=20).save(add(arm, seed, 0.3) / "outcomes.npz")
    (table,) = summary(folder)
    mixed, baseline = rows(table)["mixed"], rows(table)["baseline"]
    assert (baseline["image_low"], baseline["image_high"]) == (None, None)
    assert mixed["image_low"] is None  # the outcomes differ in their targets: not the same images
    (note,) = [note for note in table["notes"] if "no interval over images" in note]
    assert note.startswith(
        "mixed: no interval over images, because the images are not those of baseline in mixed-s0-00000001, "
    )
    same = random_outcomes(0, images=20)
    for path in folder.glob("mixed-*"):
        same.save(path / "outcomes.npz")
    for path in folder.glob("baseline-*"):
        random_outcomes(0, images=20).save(path / "outcomes.npz")
    (table,) = summary(folder)
    assert (rows(table)["mixed"]["image_low"], rows(table)["mixed"]["image_high"]) == (0, 0)


def test_the_image_interval_is_that_of_literal_repeats(folder, add):
    base = random_outcomes(1, images=15, hits=1.0)
    worse = replace(base, matches=np.where(np.arange(len(base.matches)) % 3, base.matches, 0).astype(np.uint16))
    base.save(add("baseline", 0, 0.4) / "outcomes.npz")
    worse.save(add("mixed", 0, 0.3) / "outcomes.npz")
    (table,) = summary(folder)
    counts = multiplicities("f", "val", 15)[:100]
    literal = [(scored_by_ultralytics(worse, c) - scored_by_ultralytics(base, c)).mean() for c in counts]
    row = rows(table)["mixed"]
    assert row["image_low"] < np.mean(literal) < row["image_high"] < 0
    inside = np.mean([row["image_low"] <= value <= row["image_high"] for value in literal])
    assert 0.85 <= inside <= 1


def test_runs_without_outcomes_are_named_if_others_have_them(folder, add):
    paths = {arm: add(arm, 0, 0.3) for arm in ("baseline", "mixed", "conv")}
    (table,) = summary(folder)
    assert not any("interval over images" in note for note in table["notes"]), "no run has any: made without them"
    for arm in ("baseline", "mixed"):
        random_outcomes(0).save(paths[arm] / "outcomes.npz")
    (table,) = summary(folder)
    assert rows(table)["mixed"]["image_low"] == 0
    assert rows(table)["conv"]["image_low"] is None
    assert "conv: no interval over images, because outcomes.npz is missing in conv-s0-00000002" in table["notes"]


def cut(content):
    return content[: len(content) // 2]


def damaged(content):
    return content[:200] + bytes(byte ^ 255 for byte in content[200:260]) + content[260:]


@pytest.mark.parametrize("change", [cut, damaged, lambda _: b"", lambda _: b"no archive"])
def test_unreadable_outcomes_are_named_in_every_affected_row(folder, add, change):
    for seed in (0, 1):
        for arm in ("baseline", "conv", "mixed"):
            random_outcomes(0).save(add(arm, seed, 0.3) / "outcomes.npz")
    path = next(folder.glob("baseline-s1-*")) / "outcomes.npz"
    path.write_bytes(change(path.read_bytes()))
    (table,) = summary(folder)
    assert [row["image_low"] for row in table["rows"]] == [None] * 3
    name = path.parent.name
    assert f"conv, mixed: no interval over images, because outcomes.npz cannot be read in {name}" in table["notes"]
