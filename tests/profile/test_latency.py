from __future__ import annotations

import copy
import importlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.profile import latencies, latency
from tests.profile.builders import Net, ShiftBlock


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten warm-up to a tenth of a second and timing to half a second."""
    module = importlib.import_module("acmix_exp.profile.latency")
    monkeypatch.setattr(module, "WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(module, "SECONDS", 0.5)


class Sleeper(nn.Module):
    """Sleeps the given milliseconds in turn, then the last one; twice as long until it is fused."""

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.milliseconds = list(milliseconds)
        self.factor = 2.0

    def fuse(self) -> Sleeper:
        self.factor = 1.0
        return self

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        time.sleep(self.factor * self.milliseconds[0] / 1e3)
        if len(self.milliseconds) > 1:
            self.milliseconds.pop(0)
        return x * self.scale


@pytest.mark.usefixtures("hurried")
def test_milliseconds_of_the_fused_copy() -> None:
    assert 20.0 <= latency(Sleeper(20.0), 32).median < 36.0


@pytest.mark.usefixtures("hurried")
def test_warm_up_is_not_measured() -> None:
    assert latency(Sleeper(600.0, 5.0), 32).median < 100.0


@pytest.mark.usefixtures("hurried")
def test_the_median_ignores_an_outlier() -> None:
    times = [5.0] * 12 + [200.0] + [5.0]
    assert latency(Sleeper(*times), 32).median < 20.0


def test_a_quick_network_is_measured_in_about_three_seconds_at_most() -> None:
    began = time.monotonic()
    assert latency(Net(ShiftBlock(8)), 64, batch=2).median > 0.0
    assert time.monotonic() - began < 5.0


@pytest.mark.usefixtures("hurried")
def test_the_95th_percentile_includes_outliers() -> None:
    result = latency(Sleeper(*[5.0] * 12, *[5.0, 5.0, 50.0] * 30), 32)
    assert result.median < 20.0
    assert result.p95 is not None
    assert result.p95 > 45.0
    assert result.passes >= 15


@pytest.mark.usefixtures("hurried")
def test_networks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    networks = {"quick": Sleeper(2.0), "slow": Sleeper(100.0)}
    for name, network in networks.items():
        network.register_forward_hook(lambda *_, name=name: order.append(name))
    result = latencies(networks, 32, seconds=0.5)
    assert result["slow"].passes < result["quick"].passes
    assert order[:2] == ["quick", "slow"]
    assert result["slow"].median > 5 * result["quick"].median


@pytest.mark.usefixtures("hurried")
def test_a_slow_network_is_warmed_up_once_and_timed_five_times() -> None:
    passes: list[int] = []
    sleeper = Sleeper(400.0, *[200.0] * 4, 100.0)
    sleeper.register_forward_hook(lambda *_: passes.append(1))
    result = latency(sleeper, 32, seconds=0.1)
    assert len(passes) == 6
    assert result.passes == 5
    assert 200.0 <= result.median < 300.0


@pytest.mark.parametrize("fewest", [19, 20])
def test_no_95th_percentile_of_few_passes(fewest: int) -> None:
    result = latency(Sleeper(5.0), 32, seconds=0.001, fewest=fewest)
    assert result.passes == fewest
    assert (result.p95 is None) == (fewest < 20)


@pytest.mark.usefixtures("hurried")
def test_the_model_is_not_changed() -> None:
    model = Net(ShiftBlock(8)).train()
    before = copy.deepcopy(model.state_dict())
    threads = torch.get_num_threads()
    latency(model, 32)
    assert model.training
    assert torch.get_num_threads() == threads
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    sleeper = Sleeper(1.0)
    latency(sleeper, 32)
    assert sleeper.factor == 2.0


@pytest.mark.parametrize(("imgsz", "batch"), [(0, 1), (32, 0), (-1, 1)])
def test_sizes_below_one(imgsz: int, batch: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        latency(Net(), imgsz, batch)


@pytest.mark.usefixtures("hurried")
def test_yolov8n_is_fused_without_output(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    model = tasks.DetectionModel("yolov8n.yaml", nc=4, verbose=False)
    keys = list(model.state_dict())
    norms: list[int] = []
    monkeypatch.setattr(tasks.DetectionModel, "forward", _counting_norms(norms, tasks.DetectionModel.forward))
    capfd.readouterr()
    assert latency(model, 64).median > 0.0
    assert set(norms) == {0}
    assert list(model.state_dict()) == keys
    assert capfd.readouterr() == ("", "")


def _counting_norms(result: list[int], forward: Callable[..., Any]) -> Callable[..., Any]:
    def counting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result.append(sum(isinstance(module, nn.BatchNorm2d) for module in self.modules()))
        return forward(self, *args, **kwargs)

    return counting


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_waits_for_the_pass() -> None:
    wide = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 256, 256, 3, padding=1) for i in range(8)])
    assert latency(wide, 512, batch=8, device="cuda").median > 1.0
    assert next(wide.parameters()).device.type == "cpu"
