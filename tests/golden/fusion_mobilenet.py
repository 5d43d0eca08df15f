"""Builders of the fused convolutions and the MobileNetV3 backbones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acmix_exp.nn.fusion import fuse_conv_bn, merge_branches
from acmix_exp.nn.mobilenet_v3 import mobilenet_v3_stages

Entry = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]
Built = tuple[nn.Module, Callable[[Tensor], Any]]


def convolution(entry: Entry, arrays: Arrays) -> Built:
    """A convolution and its norm with the entry's weights; the function that runs is the fused convolution."""
    options = dict(entry["config"])
    norm = nn.BatchNorm2d(options["out_channels"], eps=options.pop("bn_eps"))
    conv = nn.ConvTranspose2d if options.pop("transpose") else nn.Conv2d
    pair = loaded(nn.ModuleDict({"conv": conv(**options), "bn": norm}), arrays)
    return pair, fuse_conv_bn(pair["conv"], pair["bn"])


def branches(entry: Entry, arrays: Arrays) -> Built:
    """Three branches with the entry's weights; the function that runs is the 3x3 convolution merged from them."""
    options = entry["config"]
    channels, more = options["channels"], {key: options.get(key, 1) for key in ("stride", "groups")}
    norms = ("bn3", "bn1", "bnid") if "param/bnid.weight" in arrays else ("bn3", "bn1")
    parts = nn.ModuleDict(
        {
            "conv3": nn.Conv2d(channels, channels, 3, padding=1, bias="param/conv3.bias" in arrays, **more),
            "conv1": nn.Conv2d(channels, channels, 1, bias="param/conv1.bias" in arrays, **more),
            **{name: nn.BatchNorm2d(channels, eps=options["bn_eps"]) for name in norms},
        }
    )
    loaded(parts, arrays)
    dense, point = fuse_conv_bn(parts["conv3"], parts["bn3"]), fuse_conv_bn(parts["conv1"], parts["bn1"])
    return parts, merge_branches(dense, point=point, identity=parts["bnid"] if len(norms) == 3 else None)


def backbone(entry: Entry, arrays: Arrays) -> Built:
    """P3, P4, P5 and expanded P5 of a MobileNetV3, with weights computed from the names of the tensors."""
    stages = mobilenet_v3_stages(entry["reference"]["cls"], p5="expanded")
    features = nn.Sequential()
    for stage in stages:
        for name, layer in stage.named_children():
            features.add_module(name, layer)
    features.double().eval()
    features.load_state_dict({key: _filled(key, value) for key, value in features.state_dict().items()})

    def forward(image: Tensor) -> list[Tensor]:
        """``image`` is an image, or height, width and seed as in the file, from which the image is computed."""
        p3 = stages[0](generated_image(image) if image.ndim == 1 else image)
        p4 = stages[1](p3)
        *body, head = stages[2]
        p5 = nn.Sequential(*body)(p4)
        return [p3, p4, p5, head(p5)]

    return features, forward


def generated_image(size_and_seed: Any) -> Tensor:
    height, width, seed = (int(value) for value in size_and_seed)
    return torch.from_numpy(2 * _uniform(3 * height * width, seed) - 1).view(1, 3, height, width)


def loaded(module: nn.ModuleDict, arrays: Arrays) -> nn.ModuleDict:
    state = {
        key.split("/", 1)[1]: torch.from_numpy(np.asarray(arrays[key])) for key in arrays if key[:3] in ("par", "buf")
    }
    module.double().eval().load_state_dict(state, strict=True)
    return module


def _filled(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    u = torch.from_numpy(_uniform(tensor.numel(), zlib.crc32(name.encode()))).view(tensor.shape)
    c = 2 * u - 1
    if tensor.ndim == 4:
        return c * (2.6 / tensor[0].numel()) ** 0.5
    if name.endswith("running_var"):
        return 0.5 + u
    return 1 + 0.3 * c if name.endswith("weight") else 0.2 * c


def _uniform(count: int, seed: int) -> np.ndarray:
    """Numbers from 0 to 1: a 32-bit integer hash of the index."""
    mask = np.uint64(0xFFFFFFFF)
    x = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(seed)) & mask
    for shift, factor in ((16, 2246822519), (13, 3266489917)):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & mask
    return (x ^ (x >> np.uint64(16))).astype(np.float64) / 2.0**32


BUILDERS: dict[tuple[str, str], Callable[[Entry, Arrays], Built]] = {
    ("pytorch/pytorch", "fuse_conv_bn_eval over Conv2d + BatchNorm2d"): convolution,
    ("(equations)", "three-branch sum 3x3+BN, 1x1+BN, identity BN"): branches,
    ("pytorch/vision", "mobilenet_v3_large"): backbone,
    ("pytorch/vision", "mobilenet_v3_small"): backbone,
}
