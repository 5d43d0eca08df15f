"""What is wrong with hardware.slurm before a cluster is asked."""

from __future__ import annotations

import shutil
import threading

import pytest

from acmix_exp.config import options
from acmix_exp.run import devices
from acmix_exp.sweep import arm, check, executor_keys
from acmix_exp.sweep.run_key import hash8, identity
from acmix_exp.tasks import repeat


@pytest.fixture
def lines(make_config, monkeypatch):
    """``lines("hardware=slurm", ...)``: the lines for a config, on a machine that has sbatch and no GPU."""

    def of(*overrides):
        keys = {override.partition("=")[0] for override in overrides}
        return check._hardware(config := make_config(*overrides)) + executor_keys.faults(config, keys)

    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(devices, "cuda_devices", lambda: 0)
    return of


@pytest.mark.parametrize(
    "overrides",
    [
        "seed=1",
        "hardware.device=cpu",
        "hardware.device=auto;hardware.precision=bf16;block.backend=triton",
        "hardware.slurm.signal_s=0;hardware.slurm.requeues=0;hardware.slurm.mem_gb=0.5",
        "hardware.slurm.partition='a,b';hardware.slurm.extra=['--exclusive','#SBATCH --mail-type=END --nice=5']",
        "task=plan",
    ],
)
def test_right(lines, overrides):
    assert lines("hardware=slurm", *overrides.split(";")) == []


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hardware.slurm.time_min=0", "hardware.slurm.time_min=0: must be a whole number from 1, in minutes"),
        ("hardware.slurm.cpus=0", "hardware.slurm.cpus=0: must be a whole number from 1, or null"),
        ("hardware.slurm.mem_gb=-1", "hardware.slurm.mem_gb=-1.0: must be a number above 0, or null"),
        ("hardware.slurm.mem_gb=inf", "hardware.slurm.mem_gb=inf: must be a number above 0, or null"),
        (
            "hardware.slurm.signal_s=14400",
            "hardware.slurm.signal_s=14400: must be from 0 to 14399, less than the time limit",
        ),
        ("hardware.slurm.requeues=-1", "hardware.slurm.requeues=-1: must be a whole number from 0"),
        ("hardware.slurm.partition='a b'", "hardware.slurm.partition=a b: must be a name without spaces, or null"),
        ("hardware.slurm.account=''", "hardware.slurm.account=: must be a name without spaces, or null"),
        (
            "hardware.slurm.extra=['--array=1']",
            "hardware.slurm.extra=--array=1: --array is set by acmix_exp itself, which finds its jobs by it",
        ),
        (
            "hardware.slurm.extra=['#SBATCH -t 5']",
            "hardware.slurm.extra=#SBATCH -t 5: -t is set by hardware.slurm.time_min, in minutes",
        ),
        (
            "hardware.slurm.extra=[exclusive]",
            "hardware.slurm.extra=exclusive: must be an option of sbatch, such as --mail-type=END",
        ),
        ("hardware.slurm.extra=['-A \"x']", 'hardware.slurm.extra=-A "x: cannot be read (No closing quotation)'),
        (
            "hardware.device=1",
            "hardware.device=1: must be cuda or cpu with hardware.executor=slurm, which chooses the GPU itself",
        ),
        ("task=profile", "hardware=slurm: task=profile runs on this machine; choose another hardware"),
        ("hardware=cpu", "hardware.slurm.qos: hardware.executor=local has no use for it; add hardware=slurm"),
    ],
)
def test_wrong(lines, override, line):
    overrides = ["hardware.slurm.qos=q", override] if override == "hardware=cpu" else ["hardware=slurm", override]
    assert lines(*overrides) == [line]


def test_without_sbatch(lines, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (line,) = lines("hardware=slurm")
    assert line.startswith("hardware=slurm: there is no sbatch here")
    assert lines("hardware=slurm", "task=plan") == []


def test_the_gpu_of_a_node_is_planned_where_there_is_none(make_config, monkeypatch):
    """A run planned on a login node is the run that a machine with a GPU plans."""

    def key(*overrides):
        return hash8(identity(arm.apply(make_config("arm=mixed", "hardware.workers=1", *overrides)), "f"))

    monkeypatch.setattr(devices, "cuda_devices", lambda: 0)
    on_login = key("hardware=slurm")
    assert on_login == key("hardware=slurm", "hardware.device=auto")
    assert key("hardware=slurm", "hardware.device=cpu") == key("hardware=cpu") != on_login
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    assert key("hardware=auto") == on_login


def test_the_option_is_offered():
    assert "slurm" in options("hardware")


def test_a_job_takes_the_gpu_that_slurm_gave_it(make_config, monkeypatch):
    monkeypatch.setattr(devices, "cuda_devices", lambda: 2)
    for device, expected in (("cuda", [0]), ("auto", [0]), ("cpu", None)):
        hardware = make_config("hardware=slurm", f"hardware.device={device}").hardware
        with devices.gpus_of_run(hardware, threading.Event(), scheduled=True) as gpus:
            assert gpus == expected
    hardware = make_config("hardware=slurm", "hardware.gpus_per_run=2").hardware
    with devices.gpus_of_run(hardware, threading.Event(), scheduled=True) as gpus:
        assert gpus == [0, 1]


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda")])
def test_a_run_of_a_cluster_is_repeated_on_this_machine(make_config, monkeypatch, gpus, device):
    monkeypatch.setattr(devices, "cuda_devices", lambda: gpus)
    recorded = {"identity": {"hardware": {"device": "cuda", "precision": "fp16"}}}
    config = repeat._same_hardware(make_config("hardware=slurm"), make_config(), recorded, ())
    assert identity(arm.apply(config), "f")["hardware"]["device"] == device
