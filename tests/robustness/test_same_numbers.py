"""What must not change the numbers of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ultralytics.cfg import get_cfg

from acmix_exp.data import read_split
from acmix_exp.yolo.run import train
from acmix_exp.yolo.sample_dataset import SampleDataset
from acmix_exp.yolo.sample_loader import train_loader
from tests.robustness.cases import case
from tests.yolo.builders import NAMES, make_config, make_dataset

SECTION = "What is trained"


class Stop(Exception):
    """Ends a training as a signal does."""


@case(
    SECTION,
    have="`hardware.workers=8` on one machine and 2 or 0 on another, same seed",
    here="the same batches bit for bit, mosaic and all: samples depend on seed, epoch and index alone",
    reported="ultralytics #5276",
)
def test_the_number_of_loader_workers_changes_no_batch(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"train": 9})
    args = get_cfg(overrides={"imgsz": 64, "seed": 3, "mixup": 0.5})
    names = {"names": NAMES, "nc": 2, "channels": 3}
    images = []
    for workers in (0, 3):
        data = SampleDataset(read_split(dataset, "train"), args, names, train=True, batch=4, stride=32, split="train")
        loader = train_loader(data, batch=4, workers=workers, device=torch.device("cpu"))
        images.append([batch["img"] for _ in range(2) for batch in loader])
        loader.close()
    assert len(images[0]) == 6
    assert all(torch.equal(one, other) for one, other in zip(*images, strict=True))


@pytest.mark.slow
@case(
    SECTION,
    have="a run that was stopped and resumed: its losses jump, and its weights are others than without the stop",
    here="as if it had not been stopped, bit for bit on a CPU: the state of every epoch is saved in full precision",
    reported="ultralytics #23973",
)
def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", {"train": 9, "val": 4})
    config = make_config(train__epochs=3)
    weights, losses = [], []
    for stops in (False, True):
        folder, rows = tmp_path / str(stops), []

        def on_epoch(row: dict[str, float], rows: list = rows, at: int = 2 if stops else 9) -> None:
            rows.append({**row, "seconds": 0})
            if row["epoch"] == at:
                raise Stop

        options = {"device": "cpu", "on_epoch": on_epoch}
        if stops:
            with pytest.raises(Stop):
                train(config, dataset, folder, resume=False, **options)
        weights.append(train(config, dataset, folder, resume=stops, **options).model.state_dict())
        losses.append(rows)
    assert losses[0] == losses[1]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
