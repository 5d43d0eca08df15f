"""GPUs of a config, on simulated machines."""

import threading

import pytest

from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError, Stopped
from acmix_exp.run import devices
from acmix_exp.run.devices import gpu_slot, gpu_slots
from acmix_exp.yolo.arguments import precision


@pytest.fixture
def machine(monkeypatch):
    return lambda gpus: monkeypatch.setattr(devices, "cuda_devices", lambda: gpus)


@pytest.mark.parametrize(
    ("present", "device", "runs_at_once", "gpus", "expected"),
    [
        (0, "auto", 1, [], "fp32"),
        (0, "auto", 4, [], "fp32"),
        (0, "cpu", 1, [], "fp32"),
        (2, "cpu", 1, [], "fp32"),
        (2, "auto", 1, [0], "fp16"),
        (2, "auto", 4, [0, 1], "fp16"),
        (2, "cuda", 1, [0], "fp16"),
        (2, "cuda", 2, [0, 1], "fp16"),
        (2, 1, 1, [1], "fp16"),
        (2, [0, 1], 4, [0, 1], "fp16"),
    ],
)
def test_the_best_device_or_the_configured_one(machine, present, device, runs_at_once, gpus, expected):
    machine(present)
    hardware = HardwareConfig(device=device, runs_at_once=runs_at_once)
    assert devices.gpus(hardware) == gpus
    assert precision(hardware, "cuda" if gpus else "cpu") == expected


@pytest.mark.parametrize(
    ("present", "device", "runs_at_once", "gpus"),
    [
        (2, "cuda", 1, [0, 1]),
        (4, "auto", 1, [0, 1]),
        (4, "cuda", 2, [0, 1, 2, 3]),
        (3, "cuda", 2, [0, 1, 2]),
        (4, [2, 3], 1, [2, 3]),
        (4, [3, 1, 2], 2, [3, 1, 2]),
        (0, "auto", 1, []),
        (4, "cpu", 1, []),
    ],
)
def test_a_run_of_several_gpus(machine, present, device, runs_at_once, gpus):
    machine(present)
    assert devices.gpus(HardwareConfig(device=device, runs_at_once=runs_at_once, gpus_per_run=2)) == gpus


@pytest.mark.parametrize(
    ("present", "device", "each", "says"),
    [
        (1, "cuda", 2, "hardware.gpus_per_run=2: this machine has 1 GPU"),
        (2, "auto", 3, "hardware.gpus_per_run=3: this machine has 2 GPUs"),
        (4, 1, 2, "hardware.gpus_per_run=2: hardware.device=1 names 1"),
        (4, [1, 1], 2, r"hardware.gpus_per_run=2: hardware.device=\[1, 1\] names 1"),
        (4, [0, 1, 2, 3], 2, r"hardware.device=.*: one run uses hardware.gpus_per_run=2 GPUs; .*runs_at_once=2"),
        (0, "cuda", 2, "hardware.device=cuda: no CUDA GPU"),
    ],
)
def test_too_few_gpus_for_a_run_are_refused(machine, present, device, each, says):
    machine(present)
    with pytest.raises(ConfigError, match=says):
        devices.gpus(HardwareConfig(device=device, gpus_per_run=each))


def test_a_job_that_was_given_too_few_gpus(machine):
    machine(1)
    hardware = HardwareConfig(executor="slurm", device="cuda", gpus_per_run=2)
    with pytest.raises(ConfigError, match=r"hardware.gpus_per_run=2: this job was given 1"):
        devices.gpus_of_job(hardware)


@pytest.mark.parametrize(
    ("present", "device", "says"),
    [
        (0, "cuda", "no CUDA GPU"),
        (0, 0, "no CUDA GPU"),
        (2, 2, "0 to 1"),
        (2, [0, 3], "0 to 1"),
        (2, [0, 1], "runs_at_once=2"),
        (2, "gpu", "auto, cpu, cuda"),
        (2, True, "auto, cpu, cuda"),
        (2, [], "auto, cpu, cuda"),
    ],
)
def test_a_missing_device_is_refused(machine, present, device, says):
    machine(present)
    with pytest.raises(ConfigError, match=rf"hardware.device=.*{says}"):
        devices.gpus(HardwareConfig(device=device))


def test_slots_are_spread_over_gpus_and_freed(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with gpu_slot([], 3) as none:
        assert none is None
    with gpu_slot([0, 1], 3) as first, gpu_slot([0, 1], 3) as second, gpu_slot([0, 1], 3) as third:
        assert (first, second, third) == (0, 1, 0)
    with gpu_slot([0, 1], 3) as again:
        assert again == 0


def test_a_run_takes_all_its_gpus_or_none(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    stop = threading.Event()
    stop.set()
    with gpu_slots([0, 1, 2], 1, 2) as first:
        assert first == [0, 1]
        with pytest.raises(Stopped), gpu_slots([0, 1, 2], 1, 2, stop):
            pass
        with gpu_slots([0, 1, 2], 1, 1) as single:
            assert single == [2], "the run that found too few holds none"
    with gpu_slots([0, 1, 2], 3, 2) as first, gpu_slots([0, 1, 2], 3, 2) as second, gpu_slots([0, 1, 2], 3, 2) as third:
        assert (first, second, third) == ([0, 1], [0, 2], [1, 2])


def test_runs_of_several_gpus_do_not_wait_for_each_other(monkeypatch, tmp_path):
    """Commands that share GPUs and name them in other orders."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "SLOT_SECONDS", 0.01)
    at_work, most = set(), []

    def take(order):
        for _ in range(20):
            with gpu_slots(order, 1, 2) as held:
                assert not at_work & set(held)
                at_work.update(held)
                most.append(len(at_work))
                at_work.difference_update(held)

    threads = [threading.Thread(target=take, args=(order,)) for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(most) == 60
