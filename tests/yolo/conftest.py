"""A handful of images, a config, and one tiny training that many tests look at."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from acmix_exp.config import (
    ArmConfig,
    Config,
    DatasetConfig,
    HardwareConfig,
    ModelConfig,
    PlacementConfig,
    TrainConfig,
)
from acmix_exp.data import Dataset
from acmix_exp.yolo import environment

# before anything imports ultralytics: its settings file belongs to these tests
if "YOLO_CONFIG_DIR" not in os.environ:
    os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="acmix_exp-tests-")
    atexit.register(shutil.rmtree, os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)
environment.prepare()

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
    """yolov8n with ACmix after P5, two epochs at 64 pixels; a key such as ``train.epochs`` is given as train__epochs."""
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


def _set(node: Any, keys: list[str], value: Any) -> Any:
    return replace(node, **{keys[0]: value if len(keys) == 1 else _set(getattr(node, keys[0]), keys[1:], value)})


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("tiny"), {"train": 12, "val": 4, "test": 3})


@pytest.fixture(scope="session")
def dataset_without_test(dataset: Dataset) -> Dataset:
    return replace(dataset, splits={key: dataset.splits[key] for key in ("train", "val")})


@pytest.fixture(scope="session")
def run_once(
    dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Any, list[dict[str, float]], Path]]:
    """Train a config in a folder of its own: (Outcome, rows, run directory)."""
    from acmix_exp.yolo.run import train

    def run(config: Config, data: Dataset = dataset) -> tuple[Any, list[dict[str, float]], Path]:
        run_dir, rows = tmp_path_factory.mktemp("run"), []
        outcome = train(config, data, run_dir, device="cpu", resume=False, on_epoch=rows.append)
        return outcome, rows, run_dir

    return run


@pytest.fixture(scope="session")
def trained(run_once: Callable[..., Any]) -> tuple[Any, list[dict[str, float]], Path]:
    """The one training that most tests look at: ACmix after P5, two epochs."""
    return run_once(make_config())
