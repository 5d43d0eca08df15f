"""A handful of images and a config to train on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from acmix_exp.config import ArmConfig, Config, DatasetConfig, HardwareConfig, ModelConfig, PlacementConfig, TrainConfig
from acmix_exp.data import Dataset

NAMES = {0: "square", 1: "disc"}
ACMIX = {"name": "acmix", "kernel_att": 3, "head": 4, "kernel_conv": 3, "path": "mixed"}


def make_dataset(root: Path, splits: dict[str, int], size: int = 64) -> Dataset:
    """Images with one square and one disc each, as PNG with YOLO labels beside them."""
    random = np.random.default_rng(0)
    images: dict[str, tuple[Path, ...]] = {}
    for split, count in splits.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        paths = []
        for i in range(count):
            height, width = size, size - 16 * (i % 2)
            image = random.integers(0, 80, (height, width, 3), dtype=np.uint8)
            cv2.rectangle(image, (4, 6), (20, 22), (200, 60, 60), -1)
            cv2.circle(image, (32, height - 20), 9, (60, 200, 220), -1)
            path = root / "images" / split / f"{i:03}.png"
            cv2.imwrite(str(path), image)
            rows = [(0, 12 / width, 14 / height, 17 / width, 17 / height)]
            rows += [(1, 32 / width, (height - 20) / height, 19 / width, 19 / height)]
            label = root / "labels" / split / f"{i:03}.txt"
            label.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
            paths.append(path)
        images[split] = tuple(paths)
    return Dataset(name="tiny", names=dict(NAMES), splits=images, source=root / "data.yaml")


def make_config(**changes: Any) -> Config:
    """yolov8n with ACmix after P5, two epochs at 64 pixels; a key such as ``train.epochs`` is given as
    train__epochs.
    """
    config = Config(
        name="test",
        arm=ArmConfig(name="mixed", insert=True),
        model=ModelConfig(placement=PlacementConfig(name="backbone_p5", sites=["backbone_p5"])),
        block=dict(ACMIX),
        dataset=DatasetConfig(name="yolo"),
        hardware=HardwareConfig(device="cpu", precision="fp32", workers=0, threads=1),
        train=TrainConfig(epochs=2, imgsz=64, batch=4),
    )
    for key, value in changes.items():
        config = _set(config, key.split("__"), value)
    return config


def bare(config: Config) -> Config:
    """The baseline of a config, as it is with its arm applied."""
    return replace(
        config,
        arm=ArmConfig(name="baseline", insert=False),
        block={},
        model=replace(config.model, placement=PlacementConfig(name="none")),
    )


def is_zero_branch(after: nn.Module) -> bool:
    """Whether what follows a layer adds exactly nothing whatever its input."""
    norm = after.norm
    return isinstance(norm, nn.BatchNorm2d) and not norm.weight.any() and not norm.bias.any()


def _set(node: Any, keys: list[str], value: Any) -> Any:
    key, *rest = keys
    if isinstance(node, dict):
        return {**node, key: value}
    return replace(node, **{key: _set(getattr(node, key), rest, value) if rest else value})
