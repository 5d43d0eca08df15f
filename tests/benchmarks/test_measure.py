"""Memory of a known size is found; times are medians of enough rounds."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import measure
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_known_amount_is_found() -> None:
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
