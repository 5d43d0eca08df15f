"""Networks with a block in a slot of its own, and their losses on a batch of two images."""

from __future__ import annotations

from typing import Any

import torch
from ultralytics.utils import DEFAULT_CFG

from acmix_exp.block_rules import with_defaults
from acmix_exp.config import ArmConfig, Config, ModelConfig, PlacementConfig
from acmix_exp.insertions import placement_file
from acmix_exp.slot_rules import SLOT_RULES
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.model import build_model
from tests.yolo.builders import make_config


def config(
    block: str, slot: str | None = None, *, control: str | None = None, family: str = "yolov8", **options: Any
) -> Config:
    """A config whose arm inserts ``block``, or a control at its slot."""
    rules = SLOT_RULES[block]
    scale = FAMILIES[family].scales[0]
    placement = PlacementConfig(**placement_file(slot or str(rules.slot)))
    named = ArmConfig(name=control or "configured", insert=True, block=control, control=control is not None)
    if control == "conv3x3_matched":
        named.match = "parameters"
    return make_config(
        arm=named,
        model=ModelConfig(family=family, scale=scale, placement=placement),
        block={"name": block, **with_defaults(block, options)},
    )


def built(given: Config, nc: int = 2) -> Any:
    torch.manual_seed(0)
    return build_model(given, nc).eval()


def batch() -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[0.3, 0.4, 0.3, 0.4], [0.6, 0.5, 0.5, 0.3], [0.5, 0.5, 0.2, 0.9]])
    return {
        "img": torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
        "cls": torch.tensor([[0.0], [1.0], [1.0]]),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "bboxes": boxes,
    }


def losses(model: Any, *, training: bool = True) -> torch.Tensor:
    model.args = DEFAULT_CFG
    model.train(training)
    model.criterion = None
    with torch.no_grad():  # at first all boxes hold their targets; these reach two cells to each side
        for branch in model.model[-1].cv2:
            branch[-1].bias.view(4, -1)[:, -14:-12] = 8.0
    values: torch.Tensor = model(batch())[0]
    return values
