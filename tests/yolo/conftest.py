"""A tiny data set and one tiny training that many tests look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.config import Config
from acmix_exp.data import Dataset
from tests.yolo.builders import make_config, make_dataset


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
