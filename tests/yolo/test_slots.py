"""The slots down, up, fuse and loss: sites, controls, building, the criterion, what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.tal import TaskAlignedAssigner

from acmix_exp.config import LossConfig, ModelConfig, PlacementConfig, arm_label
from acmix_exp.errors import ConfigError
from acmix_exp.insertions import placement_file
from acmix_exp.slot_rules import SIMILARITIES, SLOT_RULES, SLOTS
from acmix_exp.sweep import arm
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.matched import matched_block
from acmix_exp.yolo.preflight import preflight
from acmix_exp.yolo.sites import Network, resolve_sites, sites_of
from acmix_exp.yolo.slot_wrap import ASSIGNERS, SlotAssigner, SlotBoxLoss, StockCIoU
from tests.yolo.builders import bare, make_config
from tests.yolo.slot_networks import built, config, losses

MAPS = ("down", "up", "fuse")
USUAL = {"down": "spd_conv", "up": "dysample", "fuse": "bifpn", "loss": "wiou"}


def test_sites_are_named_by_role_and_level() -> None:
    network = Network.of(ModelConfig(family="yolov8"))
    found = {
        slot: [
            (site.name, site.index, site.inputs, site.channels, site.stride) for site in resolve_sites(where, network)
        ]
        for slot, where in ((slot, PlacementConfig(**placement_file(slot))) for slot in SLOTS)
    }
    assert found["down"][0] == ("down_backbone_p1", 0, (3,), 16, 2)
    assert found["down"][-1] == ("down_neck_p5", 19, (128,), 128, 32)
    assert found["up"] == [("up_neck_p4", 10, (256,), 256, 16), ("up_neck_p3", 13, (128,), 128, 8)]
    assert [site[:3] for site in found["fuse"]] == [
        ("fuse_neck_p4_down", 11, (256, 128)),
        ("fuse_neck_p3", 14, (128, 64)),
        ("fuse_neck_p4", 17, (64, 128)),
        ("fuse_neck_p5", 20, (128, 256)),
    ]
    assert [site[:2] for site in found["loss"]] == [("loss_head", 22)]


@pytest.mark.parametrize("sites", [["backbone_p4"], ["down_backbone_p4"], [5], ["Backbone.P4"]])
def test_a_site_has_several_names(sites: list[Any]) -> None:
    where = PlacementConfig(name="test", mode="down", sites=sites)
    assert [site.index for site in resolve_sites(where, Network.of(ModelConfig(family="yolov8")))] == [5]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_an_upsampling_and_a_concatenation(family: str) -> None:
    for scale in FAMILIES[family].scales:
        network = Network.of(ModelConfig(family=family, scale=scale))
        assert len(resolve_sites(PlacementConfig(**placement_file("up")), network)) == 2
        assert len(resolve_sites(PlacementConfig(**placement_file("fuse")), network)) == 4


@pytest.mark.parametrize("slot", MAPS)
def test_identity_is_the_baseline_bit_for_bit(slot: str) -> None:
    x = torch.rand(1, 3, 64, 96)
    given = arm.apply(config(USUAL[slot], control="identity"))
    model, stock = built(given), built(bare(given))
    assert list(model.state_dict()) == list(stock.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), stock.state_dict().values(), strict=True))
    assert torch.equal(model(x)[0], stock(x)[0])
    assert torch.equal(model.fuse(verbose=False)(x)[0], stock.fuse(verbose=False)(x)[0])
    assert arm_label(given) == f"identity_{slot}"


@pytest.mark.parametrize("family", ["yolov8", pytest.param("yolo26", marks=pytest.mark.slow)])
@pytest.mark.parametrize("block", [name for name, rules in SLOT_RULES.items() if rules.slot in MAPS])
def test_a_block_is_built_at_every_site_and_the_rest_is_stock(block: str, family: str) -> None:
    given = arm.apply(config(block, family=family))
    model, stock = built(given), built(bare(given))
    ((_, sites),) = sites_of(given)
    assert list(model.blocks()) == [site.name for site in sites]
    new = model.new_keys()
    gone = set(stock.state_dict()) - set(model.state_dict())
    weights = {f"model.{site.index}.conv.weight" for site in sites}
    assert gone == (weights if block == "spd_conv" else set())
    kept, values = model.state_dict(), stock.state_dict()
    assert all(torch.equal(kept[key], values[key]) for key in kept.keys() - new)
    x = torch.rand(2, 3, 64, 96)
    model.train()
    outputs = model(x)
    maps = outputs.get("one2many", outputs)
    maps["boxes"].sum().backward()
    assert all(p.grad is not None for block in model.blocks().values() for p in block.parameters())
    model.eval()
    fused = copy.deepcopy(model).fuse(verbose=False)
    assert not [name for name, module in fused.named_modules() if isinstance(module, nn.BatchNorm2d)]
    torch.testing.assert_close(fused(x)[0], model(x)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("block", ["spd_conv", "carafe", "dysample"])
def test_the_matched_control_adds_what_the_block_adds(block: str) -> None:
    given = arm.apply(config(block, control="conv3x3_matched"))
    counts = [sum(p.numel() for p in built(each).parameters()) for each in (bare(given), given)]
    block_count = sum(p.numel() for p in built(arm.apply(config(block))).parameters())
    control = built(given)
    norms = sum(p.numel() for after in control._holders().values() for p in after.norm.parameters())
    added = counts[1] - norms - counts[0]
    nearest = sum(5 * site.channels for site in control.sites)  # h is a whole number
    assert added == pytest.approx(block_count - counts[0], abs=nearest)
    assert arm_label(given) == f"conv3x3_matched_{SLOT_RULES[block].slot}"


@pytest.mark.parametrize("block", ["spd_conv", "carafe"])
def test_the_matched_control_can_count_operations(block: str) -> None:
    """Of an image of 640 pixels: what the block has, less the convolution in whose place it stands."""
    given = config(block, control="conv3x3_matched")
    given = arm.apply(replace(given, arm=replace(given.arm, match="flops")))
    ((inserted, sites),) = sites_of(given)
    expected = 0
    for site in sites:
        side = 640 // site.stride
        convolution = 2 * 9 * site.inputs[0] * site.channels * side**2
        carafe = 2 * (side // 2) ** 2 * (site.channels * 64 + 9 * 64 * 100 + site.channels * 100)
        expected += 3 * convolution if block == "spd_conv" else carafe
    assert matched_block(given, inserted, sites)["size"] == expected


def test_a_control_of_a_few_scalars_is_refused() -> None:
    given = arm.apply(config("bifpn", control="conv3x3_matched"))
    ((inserted, sites),) = sites_of(given)
    with pytest.raises(ValueError, match=r"^bifpn adds fewer parameters than the smallest such control has, at fuse_"):
        matched_block(given, inserted, sites)
    (line,) = preflight([given])
    assert line.startswith("arm=conv3x3_matched block=bifpn: bifpn adds fewer parameters than ")


@pytest.mark.parametrize("family", ["yolov8", "yolo26"])
def test_identity_of_a_loss_is_the_stock_loss(family: str) -> None:
    given = arm.apply(config("wiou", control="identity", family=family))
    model, stock = built(given), built(bare(given))
    for network in (model, stock):
        (found := losses(network)).sum().backward()
        network.found = found.detach()
    assert torch.equal(model.found, stock.found)
    pairs = zip(model.parameters(), stock.parameters(), strict=True)
    assert all((own.grad is None and other.grad is None) or torch.equal(own.grad, other.grad) for own, other in pairs)
    assert len(model.box_losses) == (2 if family == "yolo26" else 1)
    part = getattr(model.criterion, "one2many", model.criterion)
    assert isinstance(part.bbox_loss.loss, StockCIoU), "computed where the other losses are"
    assert arm_label(given) == "identity_loss"


@pytest.mark.parametrize("block", [name for name, rules in SLOT_RULES.items() if rules.slot == "loss"])
def test_a_loss_takes_the_place_of_ciou_alone(block: str) -> None:
    given = arm.apply(config(block))
    model, stock = built(given), built(bare(given))
    actual, expected = losses(model), losses(stock)
    assert not torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1:], expected[1:]), "assigned by CIoU, so classes and DFL are the same"
    actual.sum().backward()
    assert type(model.criterion.assigner) is TaskAlignedAssigner
    assert isinstance(model.criterion.bbox_loss, SlotBoxLoss)
    kept = set(model.state_dict()) - set(stock.state_dict())
    assert kept == model.new_keys() == ({"box_losses.0.mean"} if block == "wiou" else set())


def test_mpdiou_gets_the_diagonal_of_the_image() -> None:
    model = built(arm.apply(config("mpdiou")))
    seen: list[torch.Tensor] = []
    model.box_losses[0].register_forward_pre_hook(lambda module, args: seen.append(args[2]))
    losses(model)
    strides = {8.0, 16.0, 32.0}
    assert {round(float((64**2 + 96**2) / value) ** 0.5) for value in seen[0]} <= strides


@pytest.mark.parametrize("family", ["yolov8", "yolo26"])
@pytest.mark.parametrize("block", SIMILARITIES)
def test_boxes_are_assigned_by_the_same_similarity_if_asked(block: str, family: str) -> None:
    given = arm.apply(replace(config(block, family=family), loss=LossConfig(assigner="same")))
    model = built(given)
    assert losses(model).isfinite().all()
    criterion = getattr(model.criterion, "one2many", model.criterion)
    assigner = criterion.assigner
    assert isinstance(assigner, SlotAssigner)
    assert round(float(assigner.diagonal)) == 64**2 + 96**2
    pairs = torch.tensor([[4.0, 4.0, 20.0, 30.0], [40.0, 2.0, 60.0, 40.0]])
    moved = pairs + torch.tensor([2.0, -1.0, 3.0, 1.0])
    expected = model.box_losses[0].similarity(moved, pairs, assigner.diagonal.expand(2, 1)).clamp(min=0)
    assert torch.equal(assigner.iou_calculation(pairs, moved), expected.squeeze(1))


def test_every_assigner_and_box_loss_of_ultralytics_is_known() -> None:
    """A new kind of assigner in ultralytics must be looked at before a loss is put beside it."""
    from ultralytics.utils import tal

    kinds = {each for each in vars(tal).values() if isinstance(each, type) and issubclass(each, TaskAlignedAssigner)}
    assert {each.__name__ for each in kinds} == {*(each.__name__ for each in ASSIGNERS), "RotatedTaskAlignedAssigner"}
    assert BboxLoss(16).forward.__func__.__code__.co_varnames[1:10] == SlotBoxLoss.forward.__code__.co_varnames[1:10]


@pytest.mark.slow
@pytest.mark.parametrize("block", ["spd_conv", "carafe", "dysample", "bifpn", "wiou"])
def test_a_training_is_saved_and_read_back(block: str, run_once: Callable[..., Any]) -> None:
    outcome, rows, folder = run_once(arm.apply(config(block)))
    assert len(rows) == 2
    model, _ = checkpoints.load(Path(folder) / "weights" / "last.pt")
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model(x)[0], outcome.model.float().eval()(x)[0], rtol=2e-2, atol=2e-2)
    if block == "wiou":
        assert float(outcome.model.box_losses[0].mean) != 1
        assert outcome.model.box_losses[0].momentum > 0.1, "by the steps of the training"


@pytest.mark.slow
@pytest.mark.parametrize("slot", SLOTS)
def test_the_curves_of_identity_are_the_baselines(slot: str, run_once: Callable[..., Any]) -> None:
    given = arm.apply(config(USUAL[slot], control="identity"))
    results = [run_once(each)[1] for each in (given, bare(given))]
    assert [{**row, "seconds": 0} for row in results[0]] == [{**row, "seconds": 0} for row in results[1]]


def test_a_placement_of_the_blocks_own_kind() -> None:
    where = PlacementConfig(**placement_file("usual"))
    for block, expected in {
        "spd_conv": "down",
        "carafe": "up",
        "bifpn": "fuse",
        "wiou": "loss",
        "ema": "after",
        "rfaconv": "replace",
    }.items():
        given = make_config(model=ModelConfig(placement=where), block={"name": block})
        placement = arm.usual(given).model.placement
        assert (placement.mode, bool(placement.sites)) == (expected, True)


def test_a_layer_that_is_none_of_the_slot_says_why() -> None:
    network = Network.of(ModelConfig(family="yolov8"))
    with pytest.raises(ConfigError, match="layer 12 is C2f, and not a concatenation; must be one of fuse_neck_p4_down"):
        resolve_sites(PlacementConfig(name="test", mode="fuse", sites=[12]), network)
