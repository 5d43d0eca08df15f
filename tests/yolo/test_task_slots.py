"""A box loss in the heads for masks and keypoints; that of oriented boxes has none with a CIoU and is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ultralytics.utils import DEFAULT_CFG

from acmix_exp.block_rules import with_defaults
from acmix_exp.config import ArmConfig, Config, LossConfig, ModelConfig, PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.insertions import placement_file
from acmix_exp.sweep import arm
from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.sites import Network, resolve_sites
from acmix_exp.yolo.slot_wrap import SlotAssigner
from tests.yolo.builders import make_config
from tests.yolo.slot_networks import batch
from tests.yolo.task_sets import without_blocks

PLACEMENT = PlacementConfig(**placement_file("loss"))
NETWORKS = [
    pytest.param(family, task, id=f"{family}-{task}", marks=[pytest.mark.slow] if family == "yolo26" else [])
    for family in ("yolov8", "yolo26")
    for task in ("segment", "pose")
]


def config(family: str, task: str, block: str, control: str | None = None, assigner: str = "stock") -> Config:
    return arm.apply(
        make_config(
            arm=ArmConfig(name=control or "configured", insert=True, block=control, control=control is not None),
            model=ModelConfig(family=family, task=task, placement=PLACEMENT),
            block={"name": block, **with_defaults(block, {})},
            loss=LossConfig(assigner=assigner),
        )
    )


def losses(given: Config) -> tuple[torch.Tensor, Any]:
    """Of the parts of a task, in training, and the network. Predicted boxes reach two cells to each side."""
    torch.manual_seed(0)
    model = build_model(given, 2, [5, 3] if given.model.task == "pose" else None).train()
    model.args = DEFAULT_CFG
    with torch.no_grad():
        for name in ("cv2", "one2one_cv2"):
            for branch in getattr(model.model[-1], name, None) or ():
                branch[-1].bias.fill_(2.0) if model.model[-1].reg_max == 1 else branch[-1].bias.view(4, -1)[:, 2].fill_(
                    8
                )
    labels = {
        "masks": torch.randint(0, 2, (2, 16, 24), generator=torch.Generator().manual_seed(0)).float(),
        "sem_masks": torch.zeros(2, 16, 24, dtype=torch.long),
        "keypoints": torch.full((3, 5, 3), 0.5),
    }
    return model({**batch(), **labels})[0], model


@pytest.mark.parametrize(("family", "task"), NETWORKS)
def test_a_loss_takes_the_place_of_ciou_alone(family: str, task: str) -> None:
    given = config(family, task, "wiou")
    expected, _ = losses(without_blocks(given))
    control, with_identity = losses(config(family, task, "wiou", control="identity"))
    found, model = losses(given)
    assert torch.equal(control, expected)
    assert len(with_identity.box_losses) == len(model.box_losses) == (2 if family == "yolo26" else 1)
    assert (found != expected).tolist() == [True, *[False] * (len(expected) - 1)]
    found.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "task"), NETWORKS)
def test_boxes_are_assigned_by_the_same_similarity_if_asked(family: str, task: str) -> None:
    found, model = losses(config(family, task, "mpdiou", assigner="same"))
    assert found.isfinite().all()
    parts = [getattr(model.criterion, name) for name in ("one2many", "one2one") if hasattr(model.criterion, name)]
    assert len(parts or [model.criterion]) == len(model.box_losses)
    assert all(isinstance(part.assigner, SlotAssigner) for part in parts or [model.criterion])


@pytest.mark.parametrize("family", ["yolov8", "yolo11", "yolo12", "yolo26"])
def test_oriented_boxes_are_refused(family: str) -> None:
    with pytest.raises(ConfigError, match=r"its head, OBB2?6?, has no box loss with a CIoU; use a detector, segmenter"):
        resolve_sites(PLACEMENT, Network.of(replace(ModelConfig(family=family), task="obb")))
