"""What must not change the numbers of a run."""

from __future__ import annotations

from pathlib import Path

import torch
from ultralytics.cfg import get_cfg

from acmix_exp.data import read_split
from acmix_exp.yolo.sample_dataset import SampleDataset
from acmix_exp.yolo.sample_loader import train_loader
from tests.robustness.cases import case
from tests.yolo.builders import NAMES, make_dataset

SECTION = "What is trained"


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
