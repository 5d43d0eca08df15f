"""A training step of a detector, loss and all gradients: stock, with ACmix, and with the published form.

    python -m benchmarks.train_step [--set cpu|gpu|full]

Without optimizer and loading of images, which a block does not change. On a GPU under autocast, as ultralytics trains.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from acmix_exp.config import ArmConfig, Config, ModelConfig, PlacementConfig
from acmix_exp.nn import ACmix
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.run import prepare
from benchmarks.compare import Theme, main
from benchmarks.published_form import PublishedACmix
from benchmarks.verify import Contender, Tensors, Verified, verify

STOCK, PUBLISHED, OURS = "stock", "published", "acmix_exp"
CLASSES = 20
BOXES = 8  # per image
SMALL_SIDE = 128  # of the images of the check: P5 has the smallest size for the published form
TOLERANCE = 5e-4  # of the check in float32: batch norm over few pixels amplifies rounding
PLACED = ("bottleneck_p4p5", "backbone_p3p4p5")
PLACEMENTS = Path(__file__).parents[1] / "conf" / "model" / "placement"


@dataclass(frozen=True)
class TrainCase:
    """A network and images (batch, 3, side, side)."""

    batch: int
    scale: str
    placement: str
    side: int = 640
    dtype: str = "float32"
    device: str = "cpu"
    family: str = "yolov8"

    @property
    def label(self) -> str:
        return f"{FAMILIES[self.family].title}{self.scale} {self.placement} {self.batch}x{self.side} {self.dtype}"

    def small(self) -> TrainCase:
        return replace(self, batch=2, side=SMALL_SIDE)

    def output_gradient(self) -> Tensor:
        """The gradient of the loss, a scalar in float32."""
        return torch.ones((), device=self.device)


def tiny_cases() -> list[TrainCase]:
    """A small case to check that the script runs."""
    return [TrainCase(2, "n", "bottleneck_p4p5", SMALL_SIDE)]


def cpu_cases() -> list[TrainCase]:
    """Small enough for two minutes on two cores."""
    return [TrainCase(2, "n", placement, 320) for placement in PLACED] + [
        TrainCase(2, "n", PLACED[1], 320, family="yolo26")
    ]


def gpu_cases() -> list[TrainCase]:
    return [TrainCase(16, "n", placement, dtype="float16", device="cuda") for placement in PLACED]


def full_cases() -> list[TrainCase]:
    others = [replace(case, family=family) for family in ("yolo11", "yolo26") for case in gpu_cases()]
    return [*gpu_cases(), *(replace(case, scale="s") for case in gpu_cases()), *others]


def names(device: str, compiled: bool) -> list[str]:
    return [STOCK, PUBLISHED, OURS]


def build(name: str, case: TrainCase) -> Contender:
    """The step that is timed."""
    network, batch = _network(name, case), _batch(case)
    autocast = partial(torch.autocast, case.device, getattr(torch, case.dtype), enabled=case.dtype != "float32")

    def call() -> Tensor:
        with autocast():
            loss: Tensor = network(batch)[0]
        return loss.sum()

    return Contender(name, call, _parameters(network))


def prove(name: str, case: TrainCase) -> Verified:
    """Verify output maps and gradients of the network against the published form in float64; return the step."""
    small, full = replace(case.small(), dtype="float32"), build(name, case)
    truth = _maps(PUBLISHED if name == OURS else name, small, torch.float64)
    candidate = _maps(name, small, torch.float32)
    with torch.no_grad():
        gradient = torch.cos(0.7 * torch.arange(truth.call().numel(), device=case.device))
    checked = verify(candidate, truth.gradients(gradient.double()), gradient, TOLERANCE)
    return replace(checked, contender=full, output_gradient=case.output_gradient())


def _maps(name: str, case: TrainCase, dtype: torch.dtype) -> Contender:
    """A contender whose output is all output maps in one vector."""
    network = _network(name, case).to(dtype)
    images = _batch(case)["img"].to(dtype)

    def call() -> Tensor:
        return torch.cat([tensor.flatten() for tensor in _tensors(network(images))])

    return Contender(name, call, _parameters(network))


def _tensors(output: Any) -> list[Tensor]:
    """All tensors in the nested output of a network."""
    if isinstance(output, Tensor):
        return [output]
    return [tensor for item in (output.values() if isinstance(output, dict) else output) for tensor in _tensors(item)]


def _parameters(network: nn.Module) -> Tensors:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _network(name: str, case: TrainCase) -> nn.Module:
    prepare()
    from ultralytics.cfg import get_cfg

    from acmix_exp.yolo.model import build_model

    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    # With zero_init the check would not see the block.
    placement = yaml.safe_load((PLACEMENTS / f"{case.placement}.yaml").read_text()) | {"zero_init": False}
    config = Config(
        arm=ArmConfig(name=name, insert=name != STOCK),
        model=ModelConfig(case.family, case.scale, placement=PlacementConfig(**placement)),
        block={"name": "acmix", "kernel_att": 7, "head": 4, "kernel_conv": 3, "path": "mixed", "backend": "auto"},
    )
    torch.manual_seed(0)
    network = build_model(config, CLASSES)
    network.args = get_cfg()
    if name == PUBLISHED:
        _publish(network)
    network = network.to(case.device).train()
    return network if case.device == "cpu" else network.to(memory_format=torch.channels_last)


def _publish(network: nn.Module) -> None:
    """Replace every ACmix by the published form with its weights."""
    for parent in list(network.modules()):
        for key, child in parent.named_children():
            if isinstance(child, ACmix):
                published = PublishedACmix(child.in_planes, child.out_planes, child.kernel_att, child.head)
                published.load_state_dict(child.state_dict())
                setattr(parent, key, published)


def _batch(case: TrainCase) -> dict[str, Tensor]:
    """Images of noise, and random boxes."""
    generator = torch.Generator().manual_seed(0)
    count = case.batch * BOXES
    batch = {
        "img": torch.rand(case.batch, 3, case.side, case.side, generator=generator),
        "cls": torch.randint(CLASSES, (count, 1), generator=generator).float(),
        "bboxes": 0.1 + 0.4 * torch.rand(count, 4, generator=generator),
        "batch_idx": torch.arange(case.batch).repeat_interleave(BOXES).float(),
    }
    return {key: tensor.to(case.device) for key, tensor in batch.items()}


THEME = Theme(
    name="train_step",
    title="A training step of a detector",
    baseline=STOCK,
    ours=OURS,
    names=names,
    build=build,
    prove=prove,
    sets={"tiny": tiny_cases, "cpu": cpu_cases, "gpu": gpu_cases, "full": full_cases},
    counts_images=True,
)

if __name__ == "__main__":
    sys.exit(main(THEME))
