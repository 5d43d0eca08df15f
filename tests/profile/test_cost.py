from __future__ import annotations

import copy
import importlib

import pytest
import torch

from acmix_exp.config import ArmConfig, Config, ModelConfig, PlacementConfig
from acmix_exp.profile import complexity, timings
from acmix_exp.yolo.model import build_model
from tests.profile.builders import Net, ShiftBlock

SITES = PlacementConfig(name="backbone_p5", sites=["backbone_p5"])


def network(path: str | None) -> torch.nn.Module:
    block = {"name": "acmix", "kernel_att": 7, "head": 4, "kernel_conv": 3, "path": path, "backend": "auto"}
    arm = ArmConfig(name=path or "baseline", insert=path is not None)
    return build_model(Config(arm=arm, block=block, model=ModelConfig(placement=SITES)), nc=3)


def test_figures_of_a_network_with_a_block() -> None:
    model = network("attention")
    before = copy.deepcopy(model.state_dict())
    figures, (site,) = complexity(model)
    assert (site.kind, site.height, site.width) == ("ACmix", 20, 20)
    assert figures["gflops_block"] == pytest.approx(figures["gflops_stage1"] + figures["gflops_stage2"])
    assert figures["gflops_stage1"] == pytest.approx(2 * 3 * 256**2 * 400 / 1e9)
    block = model.blocks()["backbone_p5"]
    assert figures["parameters_block"] == site.parameters == sum(p.numel() for p in block.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_ultralytics_counts_fewer_flops() -> None:
    """Its counter hooks layers, and the composed convolution calls none."""
    bare, block = complexity(network(None))[0], complexity(network("conv"))[0]
    assert (bare["gflops_stage1"], bare["gflops_block"], bare["parameters_block"]) == (None, 0, 0)
    counted = block["gflops_ultralytics"] - bare["gflops_ultralytics"]
    assert counted < 0.1 * block["gflops_block"]


def test_both_batches_are_timed() -> None:
    figures = timings(Net(ShiftBlock(8)), 32, "cpu")
    names = ("latency_ms_b{}", "latency_ms_b{}_p95", "latency_passes_b{}")
    assert list(figures) == [name.format(batch) for batch in (1, 32) for name in names]
    assert all(value is not None and value > 0 for value in figures.values())


def test_a_slow_batch_has_a_median_of_five_passes_and_no_p95(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("acmix_exp.profile.latency")
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "WARM_UP_SECONDS", 0.0)
    figures = timings(Net(ShiftBlock(8)), 32, "cpu")
    assert (figures["latency_passes_b1"], figures["latency_passes_b32"]) == (20, 5)
    assert figures["latency_ms_b1_p95"] is not None
    assert figures["latency_ms_b32_p95"] is None


def test_a_batch_that_does_not_fit_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    class Small(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 1:
                raise RuntimeError("out of memory\nand more")
            return super().forward(x)

    figures = timings(Small(), 32, "cpu")
    assert figures["latency_ms_b1"] is not None
    assert figures["latency_ms_b32"] is None
    assert capsys.readouterr().out == "latency at batch 32 was not measured: out of memory\n"
