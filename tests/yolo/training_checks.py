"""What holds for the trainings of every task: exact resume, the identity control, paired seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.config import HardwareConfig
from tests.yolo.task_sets import without_blocks
from tests.yolo.test_exact_resume import Killed, Recorded, assert_same


def check_stopped_run(whole: Recorded, folder: Path) -> None:
    """A run that is stopped after its first epoch ends as ``whole`` did."""
    stopped = Recorded(folder, whole.config, whole.dataset)
    with pytest.raises(Killed):
        stopped.go_on(kill=lambda row: True)
    stopped.go_on()
    assert_same(whole, stopped)


def check_pairs(whole: Recorded, folder: Path, baseline_on: HardwareConfig) -> None:
    """identity equals the baseline, which is trained on ``baseline_on``; another seed sees other batches."""
    config = whole.config
    baseline = Recorded(folder / "baseline", replace(without_blocks(config), hardware=baseline_on), whole.dataset)
    bare_placement = replace(config.model.placement, norm=False, act=False, residual=False)
    alone = replace(config, block={"name": "identity"}, model=replace(config.model, placement=bare_placement))
    identity = Recorded(folder / "identity", alone, whole.dataset)
    other = Recorded(folder / "other", replace(without_blocks(config), seed=1), whole.dataset)
    for run in (baseline, identity, other):
        run.go_on()
    proofs = [run.outcome.seed_proof for run in (whole, baseline, identity, other) if run.outcome]
    assert proofs[0] == proofs[1] == proofs[2] != proofs[3]
    rows = [[{**row, "seconds": 0} for row in run.rows.values()] for run in (whole, baseline, identity)]
    assert rows[0] != rows[1]
    assert rows[1] == rows[2]
