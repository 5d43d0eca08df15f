"""Measured memory, times and the cores that other processes use."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch

from benchmarks import measure, quiet
from benchmarks.memory import cpu_peaks
from benchmarks.shapes import Case
from benchmarks.verify import Contender, verify

MB = 80


def build(case: Case) -> Contender:
    """Needs MB megabytes for a moment on a map of side 100, less on a smaller one."""
    leaf = torch.zeros(case.shape, requires_grad=True)

    def call() -> torch.Tensor:
        large = torch.ones(case.side * MB * 10**6 // 400, dtype=torch.float32)
        return leaf * large[0]

    return Contender("known", call, {"leaf": leaf})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_known_size() -> None:
    peaks = cpu_peaks(build, Case(1, 4, 100, 3))
    assert peaks is not None
    assert peaks["forward"] == pytest.approx(MB, rel=0.1)
    assert peaks["training"] == pytest.approx(MB, rel=0.1)


def test_timings() -> None:
    leaf = torch.ones(1, requires_grad=True)
    contender = Contender("c", lambda: leaf * 2, {"leaf": leaf})
    truth = {"output": torch.full((1,), 2.0).double(), "leaf": torch.full((1,), 2.0).double()}
    verified = verify(contender, truth, torch.ones(1))
    for step in measure.STEPS:
        (timing,) = measure.timings([verified], step, "cpu", seconds=0.0)
        low, high = timing["quartiles_ms"]
        assert timing["rounds"] == measure.LEAST
        assert 0 < low <= timing["median_ms"] <= high


def test_cores_of_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {"_busy": iter([10.0, 14.0]), "_own": iter([1.0, 3.0])}
    for name, values in clocks.items():
        monkeypatch.setattr(quiet, name, partial(next, values))
    now = iter([100.0, 104.0])
    monkeypatch.setattr(quiet.time, "monotonic", partial(next, now))
    assert quiet.Watch().others() == pytest.approx(0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_work_of_this_process_does_not_count_as_others() -> None:
    busy, own = quiet._busy(), quiet._own()
    assert busy is not None
    while quiet._own() < own + 0.2:
        pass
    after = quiet._busy()
    assert after is not None
    assert after - busy >= 0.15
