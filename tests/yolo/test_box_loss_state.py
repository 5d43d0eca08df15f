"""A box loss in a network: its state in evaluation and in half precision, two heads, other blocks beside it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import ModelEMA

from acmix_exp.config import ArmConfig, LossConfig, ModelConfig, arm_label
from acmix_exp.nn.box_losses import WIoU
from acmix_exp.sweep import arm
from acmix_exp.yolo.model import BlockDetectionModel
from acmix_exp.yolo.sites import sites_of
from acmix_exp.yolo.slot_wrap import SlotAssigner, SlotBoxLoss, set_steps
from tests.yolo.builders import bare, make_config
from tests.yolo.slot_networks import batch, built, config, losses

TWO_HEADS = [pytest.param("yolov10", marks=pytest.mark.slow), "yolo26"]


def means(model: Any) -> list[float]:
    return [float(loss.mean) for loss in model.box_losses]


def test_evaluation_leaves_the_running_mean_alone() -> None:
    """Losses on val are of the averaged network, a copy that has a mean of its own."""
    model = built(arm.apply(config("wiou")))
    average = ModelEMA(model)
    losses(model)
    (moved,) = means(model)
    assert moved != 1
    assert losses(model, training=False).isfinite().all()
    assert losses(average.ema, training=False).isfinite().all()
    assert (means(model), means(average.ema)) == ([moved], [1.0])
    average.update(model)
    assert min(moved, 1) < means(average.ema)[0] < max(moved, 1)


def test_the_momentum_of_wiou_follows_the_steps_of_a_training() -> None:
    """Half of them after which 5 % of the first value are left; a given momentum stays."""
    loss, given = WIoU(), WIoU(momentum=0.25)
    assert (1 - loss.momentum) ** 300 == pytest.approx(0.05)
    set_steps([loss, given], 90)
    assert ((1 - loss.momentum) ** 45, given.momentum) == (pytest.approx(0.05), 0.25)
    set_steps([loss], 1)
    assert loss.momentum == pytest.approx(0.95)


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("mpdiou", "inner_iou", "shape_iou")]


@pytest.mark.parametrize("block", ["wiou", *OTHERS])
def test_losses_in_bfloat16_are_those_of_float32_and_the_mean_stays_in_float32(block: str) -> None:
    model = built(arm.apply(config(block)))
    expected = losses(copy.deepcopy(model))
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(model)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.5)
    found.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert {buffer.dtype for buffer in model.box_losses.buffers()} <= {torch.float32}


def test_a_network_in_half_precision_has_a_loss() -> None:
    """As the validation of a training in fp16 has."""
    model = built(arm.apply(config("wiou"))).bfloat16()
    model.args = DEFAULT_CFG
    x = batch() | {"img": batch()["img"].bfloat16()}
    assert model(x)[0].isfinite().all()


@pytest.mark.parametrize("family", TWO_HEADS)
def test_both_heads_have_the_loss_each_with_its_own_mean(family: str) -> None:
    model = built(arm.apply(config("wiou", family=family)))
    losses(model).sum().backward()
    parts = [model.criterion.one2many, model.criterion.one2one]
    assert [type(part.bbox_loss) for part in parts] == [SlotBoxLoss, SlotBoxLoss]
    assert [part.bbox_loss.loss for part in parts] == list(model.box_losses)
    assert len({*means(model), 1.0}) == 3
    assert model.new_keys() == {"box_losses.0.mean", "box_losses.1.mean"}


@pytest.mark.parametrize("family", TWO_HEADS)
def test_both_heads_are_assigned_by_the_same_similarity_if_asked(family: str) -> None:
    model = built(arm.apply(replace(config("mpdiou", family=family), loss=LossConfig(assigner="same"))))
    assert losses(model).isfinite().all()
    parts = [model.criterion.one2many, model.criterion.one2one]
    assert all(isinstance(part.assigner, SlotAssigner) for part in parts)


@pytest.mark.slow
def test_identity_of_a_loss_in_yolov10() -> None:
    given = arm.apply(config("wiou", control="identity", family="yolov10"))
    assert torch.equal(losses(built(given)), losses(built(bare(given))))


def several(*items: dict[str, Any], family: str = "yolov8", **keys: Any) -> Any:
    named = ArmConfig(name="configured", insert=True, insertions=list(items), **keys)
    return make_config(arm=named, model=ModelConfig(family=family))


LOSS: dict[str, Any] = {"block": "wiou", "placement": "loss"}


def test_a_loss_beside_blocks_of_other_slots() -> None:
    items = [LOSS, {"block": "spd_conv", "placement": "down"}, {"block": "simam", "placement": "backbone_p5"}]
    given = arm.apply(several(*items, {"block": "bifpn", "placement": "fuse"}, {"block": "carafe", "placement": "up"}))
    assert arm_label(given) == "wiou+spd_conv+simam+bifpn+carafe"
    model = built(given)
    assert isinstance(model, BlockDetectionModel)
    placed = [site.name for inserted, sites in sites_of(given) for site in sites if inserted.placement.mode != "loss"]
    assert sorted(model.blocks()) == sorted(placed)
    assert len(model.blocks()) == 7 + 1 + 4 + 2
    losses(model).sum().backward()
    assert all(p.grad is not None for block in model.blocks().values() for p in block.parameters())
    assert means(model) != [1.0]
    assert {key.split(".")[0] for key in model.new_keys()} == {"box_losses", "model"}


def test_a_loss_beside_an_attention_that_is_swapped() -> None:
    model = built(arm.apply(several({"block": "ema", "placement": "swap_attention"}, LOSS, family="yolo26")))
    assert losses(model).isfinite().all()
    assert len(model.box_losses) == 2
    assert type(model.criterion.one2one.bbox_loss) is SlotBoxLoss


def test_identity_in_every_place_is_the_stock_network() -> None:
    items = [LOSS, {"block": "spd_conv", "placement": "down"}]
    controlled = several(*items)
    given = arm.apply(replace(controlled, arm=replace(controlled.arm, name="identity", block="identity", control=True)))
    assert torch.equal(losses(built(given)), losses(built(bare(given))))
