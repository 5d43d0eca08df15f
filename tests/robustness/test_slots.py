"""Slots, losses and layers of timm: what does not fit is refused before the first run, with what would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from acmix_exp import block_rules
from acmix_exp.config import ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo import families
from tests.robustness.cases import Row, add, case

SECTION = "What is trained"
REFUSED = {  # what people type: what the line says, and the row of the table
    "block=spd_conv": (
        "block=spd_conv model.placement.mode=after: it stands in place of a strided convolution; use "
        "model/placement=down",
        "a downsampling, an upsampling, a fusion or a loss with a placement behind a layer",
    ),
    "block=acmix model/placement=down": (
        "block=acmix model.placement.mode=down: a block there stands in place of a strided convolution; use "
        "block=spd_conv, or another placement",
        "a block that keeps the shape of a map in place of a strided convolution",
    ),
    "block=wiou model/placement=loss model=rtdetr model.scale=l": (
        "model.placement.sites=head: rtdetr-l cannot take it: its head, RTDETRDecoder, has no box loss with a CIoU; "
        "use a detector, segmenter or pose model",
        "a box loss for a head that has none of its kind, such as RT-DETR's",
    ),
    "block=wiou model/placement=loss loss.assigner=same": (
        "loss.assigner=same block=wiou: it weights a loss and is no similarity; use loss.assigner=stock, or "
        "block=inner_iou, mpdiou, shape_iou",
        "`loss.assigner=same` with Wise-IoU",
    ),
    "block=ema loss.assigner=same": (
        "loss.assigner=same: goes with a box loss, model/placement=loss and block=inner_iou, mpdiou, shape_iou",
        "`loss.assigner=same` without a box loss",
    ),
    "block=mpdiou model/placement=loss loss.assigner=all": (
        "loss.assigner=all: must be one of stock, same",
        "an assigner that does not exist",
    ),
    "block=wiou model/placement=loss arm=conv3x3_matched": (
        "arm=conv3x3_matched model.placement.mode=loss: a loss has no size; use arm=identity",
        "the control of a block's size for a loss",
    ),
    "block=dysample model/placement=up block.groups=3": (
        "block.groups=3: must divide the channels of every site; at scale n up_neck_p4 has 256, up_neck_p3 has 128",
        "groups that do not divide the channels of an upsampling",
    ),
    "block=pconv block.n_div=3": (
        "block.n_div=3: must divide the channels of every site; at scale n backbone_p4 has 128, backbone_p5 has 256",
        "a share of the channels for a partial convolution that does not divide them",
    ),
    "block=bifpn model/placement=fuse model.placement.sites=[12]": (
        "model.placement.sites=12: yolov8n: layer 12 is C2f, and not a concatenation; must be one of "
        "fuse_neck_p4_down, fuse_neck_p3, fuse_neck_p4, fuse_neck_p5, all, neck",
        "a layer of another kind as a site of a fusion",
    ),
    "block=dysample model/placement=down": (
        "block=dysample model.placement.mode=down: it stands in place of an upsampling; use model/placement=up",
        "a block of one slot with the placement of another",
    ),
    "block=spd_conv model/placement=down model.placement.sites=[all,backbone_p4]": (
        "model.placement.sites=backbone_p4: yolov8n: names down_backbone_p4 twice; name every site once",
        "a site of a slot that is named twice",
    ),
    "block=wiou model/placement=loss arm=join": (
        "arm=join model.placement.mode=loss: a loss has no layers, which this control consists of; use arm=identity",
        "a control of what joins a block, or of its capacity, for a loss",
    ),
    "block=timm block.layer=halo": (
        f"block.layer=halo: must be one of {', '.join(block_rules.TIMM_LAYERS)}",
        "a layer of timm that takes maps of some sizes only",
    ),
}
for _, have in REFUSED.values():
    add(Row(SECTION, have, "refused before the first run, with what would fit"))


@pytest.mark.parametrize("typed", REFUSED)
def test_what_does_not_fit_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_cells([*typed.split(), "hardware=cpu", "task=plan"])
    assert caught.value.lines == [REFUSED[typed][0]]


@case(SECTION, have="`block=timm` without timm", here="planned and marked; training is refused with the extra's name")
def test_timm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_rules, "find_spec", lambda name: None)
    command = ["block=timm", "block.layer=eca", "hardware=cpu"]
    assert len(compose_cells([*command, "task=plan"])) == 1
    with pytest.raises(ConfigError, match=r"^block=timm: timm is not installed; pip install 'acmix_exp\[timm\]'$"):
        compose_cells(command)


@case(SECTION, have="a concatenation of one map, in a YAML of one's own", here="refused: there is nothing to weight")
def test_a_fusion_of_one_map(tmp_path: Path) -> None:
    content: dict[str, Any] = families.yaml_of(ModelConfig(family="yolov8"))
    content = {key: value for key, value in content.items() if key in ("nc", "scales", "backbone", "head")}
    for row in content["head"]:
        if row[2] == "Concat":
            row[0] = [-1]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = ["block=bifpn", "model/placement=fuse", f"model.yaml={path}", "hardware=cpu", "task=plan"]
    with pytest.raises(ConfigError, match=r"its concatenations \(layers 11, 14, 17, 20\) read one map each"):
        compose_cells(command)
    with pytest.raises(ConfigError, match="read one map each"):
        compose_cells([*command, "model.placement.sites=[11]"])


@case(
    SECTION,
    have="more levels of `block=wtconv` than its map can be halved, or maps of odd size",
    here="maps are extended by zeros and the result is cut; the deepest bands have a single pixel",
)
@pytest.mark.parametrize("size", [(2, 2), (5, 3)])
def test_more_levels_than_the_map_has(size: tuple[int, int]) -> None:
    import torch

    from acmix_exp.nn import build_block

    x = torch.randn(2, 4, *size, requires_grad=True)
    out = build_block("wtconv", 4, levels=6)(x)
    assert out.shape == x.shape
    out.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
