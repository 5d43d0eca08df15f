"""The harness changes nothing: arm identity is the baseline, bit for bit; arm conv3x3 is what it stands for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ultralytics.nn.modules import Conv

from acmix_exp.config import ArmConfig, Config, PlacementConfig
from acmix_exp.profile import complexity
from acmix_exp.sweep import arm
from acmix_exp.yolo.model import BlockDetectionModel, build_model
from acmix_exp.yolo.preflight import preflight
from tests.yolo.builders import bare, make_config

SITES = {
    "after": PlacementConfig(name="test", mode="after", sites=["backbone_p4", "sppf"]),
    "replace": PlacementConfig(name="test", mode="replace", sites=["backbone_p4", "backbone_p5"]),
}


def control(name: str, mode: str, **changes: Any) -> Config:
    config = make_config(model__placement=SITES[mode], train__extra={"close_mosaic": 0}, **changes)
    config.arm = ArmConfig(name=name, insert=True, block=name, control=True)
    return arm.apply(config)


@pytest.fixture(scope="module")
def baseline(run_once: Callable[..., Any]) -> Any:
    return run_once(bare(make_config(train__extra={"close_mosaic": 0})))


@pytest.mark.parametrize("mode", SITES)
def test_the_curves_of_identity_are_the_baselines(mode: str, baseline: Any, run_once: Callable[..., Any]) -> None:
    outcome, rows, _ = run_once(control("identity", mode))
    expected, expected_rows, _ = baseline
    assert len(outcome.model.blocks()) >= 2
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in expected_rows]
    assert outcome.metrics == expected.metrics
    assert outcome.seed_proof == expected.seed_proof
    weights, stock = outcome.model.state_dict(), expected.model.state_dict()
    assert list(weights) == list(stock)
    assert all(torch.equal(weights[key], stock[key]) for key in stock)


@pytest.mark.parametrize("mode", SITES)
def test_fused_identity_is_the_fused_baseline(mode: str) -> None:
    x = torch.rand(1, 3, 64, 64)
    torch.manual_seed(0)
    stock = build_model(bare(make_config()), nc=2).eval()
    torch.manual_seed(0)
    model = build_model(control("identity", mode), nc=2).eval()
    assert torch.equal(model(x)[0], stock(x)[0])
    fused = copy.deepcopy(model).fuse(verbose=False)
    assert torch.equal(fused(x)[0], copy.deepcopy(stock).fuse(verbose=False)(x)[0])
    if mode == "replace":
        assert isinstance(fused.model[6].m[0].cv2, Conv)


def test_conv3x3_is_joined_as_acmix_is() -> None:
    acmix = build_model(make_config(model__placement=SITES["after"]), nc=2)
    plain = build_model(control("conv3x3", "after"), nc=2)
    for index in (6, 9):
        ours, theirs = plain.model[index].after, acmix.model[index].after
        assert (ours.act, ours.residual, type(ours.norm)) == (theirs.act, theirs.residual, type(theirs.norm))


def test_conv3x3_in_a_bottleneck_is_the_baseline_unless_weights_are_pretrained() -> None:
    stock = control("conv3x3", "replace")
    assert stock == arm.apply(bare(make_config(train__extra={"close_mosaic": 0})))
    torch.manual_seed(0)
    model = build_model(control("conv3x3", "replace", model__pretrained="yolov8n.pt"), nc=2)
    torch.manual_seed(0)
    untouched = build_model(bare(make_config()), nc=2)
    convolution, theirs = model.model[6].m[0].cv2.block.weight, untouched.model[6].m[0].cv2.conv.weight
    assert convolution.shape == theirs.shape
    assert not torch.equal(convolution, theirs)
    assert "model.6.m.0.cv2.block.weight" in model.new_keys()
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in untouched.parameters())


def test_join_adds_norm_activation_and_residual_alone() -> None:
    model = build_model(control("join", "after"), nc=2)
    stock = build_model(bare(make_config()), nc=2)
    extra = [key for key in model.state_dict() if key not in stock.state_dict()]
    assert {key.rpartition(".")[0] for key in extra} == {"model.6.after.norm", "model.9.after.norm"}
    after = model.model[6].after.eval()
    x = torch.randn(1, 128, 4, 4)
    assert torch.equal(after(x), x + torch.nn.functional.silu(after.norm(x)))
    zero = control("join", "after")
    zero.model.placement.zero_init = True
    started = build_model(zero, nc=2).model[6].after.eval()
    assert torch.equal(started(x), x)


def matched(mode: str, match: str, **block: Any) -> Config:
    config = make_config(model__placement=SITES[mode], block=block)
    config.arm = ArmConfig(name="conv3x3_matched", insert=True, block="conv3x3_matched", control=True, match=match)
    return arm.apply(config)


@pytest.mark.parametrize("mode", SITES)
@pytest.mark.parametrize("match", ["parameters", "flops"])
@pytest.mark.parametrize("block", ["acmix", pytest.param("lska", marks=pytest.mark.slow)])
def test_the_matched_control_is_as_large_as_its_block(mode: str, match: str, block: str) -> None:
    config = matched(mode, match, name=block)
    torch.manual_seed(0)
    model = build_model(config, nc=2)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    build_model(bare(make_config()), nc=2)
    assert torch.equal(torch.get_rng_state(), state)
    other = build_model(make_config(model__placement=SITES[mode], block={"name": block}), nc=2)
    own, theirs = (complexity(network)[0] for network in (model, other))
    key = {"parameters": "parameters_block", "flops": "gflops_block"}[match]
    size = {"parameters": "matched_parameters", "flops": "matched_gflops"}[match]
    assert own[size] == pytest.approx(theirs[key])
    assert own[key] == pytest.approx(theirs[key], rel=0.02)
    widths = {name: part.conv.out_channels for name, part in model.blocks().items()}
    assert {name: own[f"hidden_{name.partition('.')[0]}"] for name in widths} == widths


def test_a_checkpoint_of_the_matched_control_keeps_its_widths() -> None:
    model = build_model(matched("replace", "parameters", name="ema"), nc=2)
    again = BlockDetectionModel(model.yaml, nc=2, verbose=False)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert again.blocks()["backbone_p5"].conv.out_channels == 2  # of ema's 2,624 parameters at 128 channels


@pytest.mark.parametrize("mode", SITES)
def test_fused_the_matched_control_takes_the_norm_and_gives_the_same(mode: str) -> None:
    model = build_model(matched(mode, "parameters", name="acmix"), nc=2).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain, fused = model(x)[0], copy.deepcopy(model).fuse(verbose=False)
        torch.testing.assert_close(fused(x)[0], plain, rtol=1e-4, atol=1e-4)
    assert all(block.project.bias is not None for block in fused.blocks().values())


def test_a_block_without_parameters_cannot_be_matched() -> None:
    faults = preflight([matched("after", "parameters", name="identity"), matched("after", "parameters", name="ema")])
    assert faults == {
        "arm=conv3x3_matched block=identity: identity has no parameters to match at backbone_p4; "
        "use a block that has, or another arm": [0]
    }
