"""MobileNetV3 in place of YOLOv8's backbone: its three stages at the indices of the layers that the neck reads.

SPPF, neck and head keep their indices and key names, and every site its name.
"""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.nn.mobilenet_v3 import ImageNetNormalize, MobileNetV3Stage, load_features, mobilenet_v3_stages
from acmix_exp.yolo.families import Backbone
from acmix_exp.yolo.sites import pooling_index, stage_indices
from acmix_exp.yolo.wrap import count_parameters


def rows(yaml: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
    """YOLOv8's ``yaml`` with rows from which ultralytics' parser gets the widths and strides of ``backbone``."""
    channels = backbone.channels
    with torch.device("meta"):  # draws no random numbers
        stages = mobilenet_v3_stages(backbone.network, backbone.p5)
    torchvision = [channels["backbone_p5"], backbone.network, None, True, 2, True]  # all features, one output each
    replaced: list[list[Any]] = [[-1, 1, "nn.Identity", []] for _ in range(pooling_index())]
    replaced[0] = [-1, 1, "TorchVision", torchvision]
    for (name, index), stage in zip(stage_indices().items(), stages, strict=True):
        *_, (last, _) = stage.named_children()
        replaced[index] = [0, 1, "Index", [channels[name], int(last) + 1]]
    yaml = deepcopy(yaml)
    yaml["backbone"][: len(replaced)] = replaced
    return yaml


def install(model: DetectionModel, backbone: Backbone) -> None:
    """Put the stages in place of ``rows``, after a layer that normalises the image as torchvision's weights expect.

    The normalisation is there without such weights too, so that runs differ in the weights alone.
    """
    layers: list[nn.Module] = [ImageNetNormalize(), *(nn.Identity() for _ in range(pooling_index() - 1))]
    for index, stage in zip(stage_indices().values(), mobilenet_v3_stages(backbone.network, backbone.p5), strict=True):
        layers[index] = stage
    for index, layer in enumerate(layers):
        vars(layer).update(i=index, f=-1, type=type(layer).__name__, np=count_parameters(layer))
        model.model[index] = layer.train(model.training)
    model.save = [index for index in model.save if index != 0]


def load_backbone(model: DetectionModel, path: Path) -> list[str]:
    """Load torchvision's weights into the backbone; the keys of ``model`` that were loaded.

    Raises ValueError if ``path`` is not a state_dict of the backbone's network.
    """
    stages = [layer for layer in model.model if isinstance(layer, MobileNetV3Stage)]
    try:
        load_features(stages, torch.load(path, map_location="cpu", weights_only=True))
    except (ValueError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        right = "must be torchvision's weights of the model's backbone (a state_dict, .pth)"
        raise ValueError(f"model.pretrained={path}: {reason}; {right}") from error
    prefixes = tuple(f"model.{index}." for index in stage_indices().values())
    return [key for key in model.state_dict() if key.startswith(prefixes) and ".after." not in key]
