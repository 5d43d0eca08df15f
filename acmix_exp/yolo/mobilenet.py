"""MobileNetV3 in the place of YOLOv8's backbone: its three stages at the indices of the layers that the neck reads.

So SPPF, neck and head keep their indices and key names, and every site its name.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.nn.mobilenet_v3 import ENDS, ImageNetNormalize, MobileNetV3Stage, load_features, mobilenet_v3_stages
from acmix_exp.yolo.sites import Backbone
from acmix_exp.yolo.wrap import count_parameters

STAGES = {"backbone_p3": 4, "backbone_p4": 6, "backbone_p5": 8}  # the layers of YOLOv8 at strides 8, 16, 32
LAYERS = 9  # of the backbone, less its SPPF


def rows(yaml: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
    """YOLOv8's ``yaml`` with rows by which ultralytics' parser gets widths and strides of ``backbone`` right."""
    channels = backbone.channels
    last = ENDS[backbone.network][2]
    ends = [*ENDS[backbone.network][:2], last + (backbone.p5 == "expanded")]
    torchvision = [channels["backbone_p5"], backbone.network, None, True, 2, True]  # all features, one output each
    made: list[list[Any]] = [[-1, 1, "nn.Identity", []] for _ in range(LAYERS)]
    made[0] = [-1, 1, "TorchVision", torchvision]
    for (name, index), end in zip(STAGES.items(), ends, strict=True):
        made[index] = [0, 1, "Index", [channels[name], end + 1]]
    yaml = deepcopy(yaml)
    yaml["backbone"][:LAYERS] = made
    return yaml


def install(model: DetectionModel, backbone: Backbone) -> None:
    """Put the stages in the place of ``rows``, after a layer that normalises the image as torchvision's weights expect.

    It is there without such weights too, so that runs differ in the weights alone.
    """
    layers: list[nn.Module] = [ImageNetNormalize(), *(nn.Identity() for _ in range(LAYERS - 1))]
    for index, stage in zip(STAGES.values(), mobilenet_v3_stages(backbone.network, backbone.p5), strict=True):
        layers[index] = stage
    for index, layer in enumerate(layers):
        vars(layer).update(i=index, f=-1, type=type(layer).__name__, np=count_parameters(layer))
        model.model[index] = layer.train(model.training)
    model.save = [index for index in model.save if index != 0]


def load_backbone(model: DetectionModel, path: Path) -> list[str]:
    """torchvision's weights of ``path`` into the backbone; the keys of ``model`` that have them now.

    Raises ValueError where they are not of this network.
    """
    stages = [layer for layer in model.model if isinstance(layer, MobileNetV3Stage)]
    try:
        load_features(stages, torch.load(path, map_location="cpu", weights_only=True))
    except ValueError as error:
        raise ValueError(f"model.pretrained={path}: {error}; must be of the model's own network") from error
    prefixes = tuple(f"model.{index}." for index in STAGES.values())
    return [key for key in model.state_dict() if key.startswith(prefixes) and ".after." not in key]
