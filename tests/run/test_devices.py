"""GPUs of a config, on simulated machines."""

import pytest

from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError
from acmix_exp.run import devices
from acmix_exp.run.devices import gpu_slot
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
