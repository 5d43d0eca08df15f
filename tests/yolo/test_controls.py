"""The harness changes nothing: arm identity is the baseline, bit for bit; arm conv3x3 is what it stands for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ultralytics.nn.modules import Conv

from acmix_exp.config import ArmConfig, Config, PlacementConfig
from acmix_exp.sweep import arm
from acmix_exp.yolo.model import build_model
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
