"""How many runs train at once where the memory of the first one decides."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from acmix_exp.config import HardwareConfig
from acmix_exp.run import devices, packing

CPU = HardwareConfig(device="cpu", runs_at_once="auto")
GPU = HardwareConfig(device="cuda", runs_at_once="auto")


@pytest.fixture
def machine(monkeypatch):
    """``machine(cores, gpus)``."""

    def put(cores: int, gpus: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        monkeypatch.setattr(devices, "cuda_devices", lambda: gpus)

    return put


@pytest.mark.parametrize(
    ("hardware", "cores", "gpus", "smallest", "largest"),
    [
        (CPU, 8, 0, 1, 8),
        (HardwareConfig(device="cpu", runs_at_once="auto", threads=3), 8, 0, 1, 2),
        (HardwareConfig(device="cpu", runs_at_once="auto", threads=16), 8, 0, 1, 1),
        (GPU, 16, 1, 1, 4),
        (GPU, 16, 3, 3, 12),
        (HardwareConfig(device=[0, 2], runs_at_once="auto"), 16, 3, 2, 8),
        (HardwareConfig(device="cuda", runs_at_once="auto", gpus_per_run=2), 16, 4, 2, 8),
        (HardwareConfig(device="cuda", runs_at_once=5), 16, 1, 5, 5),
    ],
)
def test_bounds(machine, hardware, cores, gpus, smallest, largest):
    machine(cores, gpus)
    assert (packing.smallest(hardware), packing.largest(hardware)) == (smallest, largest)


@pytest.mark.parametrize(
    ("hardware", "gpus", "used", "fit"),
    [
        (GPU, 1, 3000, 4),  # 7 would fit
        (GPU, 1, 8000, 2),  # 0.9 x 24000 / 8000 = 2.7
        (GPU, 1, 23000, 1),  # over the share, but the run that showed it trains
        (GPU, 2, 8000, 4),
        (CPU, 0, 7000, 3),
        (CPU, 0, 0, 8),
    ],
)
def test_as_many_as_fit(machine, hardware, gpus, used, fit):
    machine(8, gpus)
    assert packing.that_fit(hardware, {"used_mb": used, "total_mb": 24000}) == fit


def test_memory_of_a_process_and_of_its_children():
    before = packing.in_use("cpu")
    code = "held = b'1' * (200 << 20); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        after = packing.in_use("cpu")
        child.communicate(b"\n")
    assert 200 <= after["used_mb"] - before["used_mb"] < 300
    assert after["total_mb"] >= after["used_mb"]


@pytest.mark.parametrize(("limit", "left"), [("max", float("inf")), (str(3 << 30), 1 << 30), (str(1 << 30), 0)])
def test_the_limit_of_a_container(tmp_path, monkeypatch, limit, left):
    monkeypatch.setattr(packing, "CGROUP", tmp_path)
    assert packing._left_of_cgroup() == float("inf")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{2 << 30}\n")
    assert packing._left_of_cgroup() == left
