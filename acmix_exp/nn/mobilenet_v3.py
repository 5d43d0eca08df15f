"""torchvision's MobileNetV3 split into three stages: a backbone with outputs at strides 8, 16 and 32.

Source: Howard et al., Searching for MobileNetV3, ICCV 2019, tables 1 and 2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from acmix_exp.ops.checks import check_choice

NETWORKS = ("mobilenet_v3_large", "mobilenet_v3_small")
P5 = ("bottleneck", "expanded")


class MobileNetV3Stage(nn.Sequential):
    """Consecutive layers of torchvision's ``features``, named by their indices in it."""


class ImageNetNormalize(nn.Module):
    """``(x - mean) / std`` of ImageNet, for weights trained with it: (B, 3, H, W), RGB from 0 to 1."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)


def mobilenet_v3_stages(network: str, p5: str = "bottleneck") -> list[MobileNetV3Stage]:
    """The layers of ``features`` in three consecutive stages.

    (B, 3, H, W) -> P3 (B, 40, H/8, W/8) -> P4 (B, 112, H/16, W/16) -> P5 (B, 160, H/32, W/32) for mobilenet_v3_large;
    24, 48 and 96 channels for mobilenet_v3_small. With p5 "expanded" the last stage ends with the 1x1 that expands
    P5 to 960 (576) channels; with "bottleneck" it does not. Sizes that stride 32 does not divide are rounded up.

    The weights are torchvision's initial ones. Raises ValueError for an unknown network or p5.
    """
    check_choice("network", network, NETWORKS)
    check_choice("p5", p5, P5)
    import torchvision  # takes a second, which the other detectors do without

    layers = list(getattr(torchvision.models, network)(weights=None).features.named_children())
    *_, second, third = (i for i, (_, layer) in enumerate(layers) if _halves(layer))
    last = len(layers) - (p5 == "bottleneck")
    cuts = ((0, second), (second, third), (third, last))
    return [MobileNetV3Stage(OrderedDict(layers[start:end])) for start, end in cuts]


def _halves(layer: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) and module.stride == (2, 2) for module in layer.modules())


def load_features(stages: list[MobileNetV3Stage], state: Mapping[str, Tensor]) -> None:
    """Load the ``features`` of a torchvision state_dict into the stages; tensors that only one side has are left out.

    Raises ValueError if a tensor of the stages is missing or has another shape, as those of the other network do.
    """
    features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    for stage in stages:
        wanted = {key: value for key, value in stage.state_dict().items() if key.split(".")[0].isdigit()}
        for key, value in wanted.items():
            if key not in features or features[key].shape != value.shape:
                raise ValueError(f"no tensor features.{key} of shape {tuple(value.shape)}")
        stage.load_state_dict({key: features[key] for key in wanted}, strict=False)
