"""Two processes of one run, with gloo: what each loads, and what each saves of its own."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch import multiprocessing as mp
from ultralytics.cfg import get_cfg

from acmix_exp.data import read_split
from acmix_exp.yolo import training_state
from acmix_exp.yolo.sample_dataset import SampleDataset
from acmix_exp.yolo.sample_loader import EpochLoader, train_loader
from tests.yolo.builders import NAMES, make_dataset

COUNT, BATCH, EPOCHS, RANKS = 11, 4, 3, 2


def loader(folder: Path, batch: int, rank: int) -> EpochLoader:
    args = get_cfg(overrides={"imgsz": 64, "seed": 2, "mixup": 0.5})
    names = {"names": NAMES, "nc": 2, "channels": 3}
    samples = read_split(make_dataset(folder / f"data{rank}", {"train": COUNT}), "train")
    data = SampleDataset(samples, args, names, train=True, batch=batch, stride=32, split="train")
    return train_loader(data, batch=batch, workers=2, device=torch.device("cpu"), rank=rank)


def batches(made: EpochLoader) -> list[torch.Tensor]:
    images = []
    for epoch in range(EPOCHS):
        made.sampler.set_epoch(epoch)
        images += [batch["img"] for batch in made]
    made.close()
    return images


def process(rank: int, folder: str) -> None:
    here = Path(folder)
    distributed.init_process_group("gloo", init_method=f"file://{here}/meet", rank=rank, world_size=RANKS)
    torch.save(batches(loader(here, BATCH // RANKS, rank)), here / f"{rank}.pt")
    norm = nn.BatchNorm1d(3)
    norm.running_mean.fill_(rank)
    random.seed(rank)
    np.random.seed(rank)  # noqa: NPY002
    torch.manual_seed(rank)
    trainer = SimpleNamespace(model=norm, device=torch.device("cpu"))
    state = {"processes": training_state.gather(trainer)}  # type: ignore[arg-type]
    assert [float(part["buffers"]["running_mean"][0]) for part in state["processes"]] == [0, 1]
    expected = [draw() for _ in range(3) for draw in (random.random, np.random.random, lambda: float(torch.rand(())))]
    torch.save(state, here / f"state{rank}.pt")
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    state = torch.load(here / f"state{rank}.pt", weights_only=True)
    training_state.restore_random(trainer.device, state)
    drawn = [draw() for _ in range(3) for draw in (random.random, np.random.random, lambda: float(torch.rand(())))]
    assert drawn == expected
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_load_the_batches_of_one_and_keep_their_own_state(tmp_path: Path) -> None:
    mp.start_processes(process, (str(tmp_path),), nprocs=RANKS, start_method="spawn")
    alone = batches(loader(tmp_path, BATCH, -1))
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    assert [len(part) for part in parts] == [len(alone)] * RANKS == [9, 9]
    for together, one in zip(zip(*parts, strict=True), alone, strict=True):
        assert torch.equal(torch.cat(together), one)
