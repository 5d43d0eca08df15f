"""Samples are a function of seed, epoch and index: any number of loader workers and of ranks gives the same."""

import hashlib
import random
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Albumentations

from acmix_exp.data import Dataset, read_split
from acmix_exp.yolo import arguments
from acmix_exp.yolo.arguments import loader_workers
from acmix_exp.yolo.run import Outcome
from acmix_exp.yolo.sample_dataset import SampleDataset, seeded
from acmix_exp.yolo.sample_loader import EpochLoader, train_loader
from acmix_exp.yolo.sampling import EpochSampler, order, part_of_rank, seed_bytes
from tests.yolo.builders import NAMES, bare, make_config, make_dataset

COUNT, BATCH, EPOCHS = 13, 4, 3
AUGMENTED = {"mixup": 0.5, "cutmix": 0.3, "degrees": 10.0, "flipud": 0.5, "bgr": 0.5}
Trained = tuple[Outcome, list[dict[str, float]], Path]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("sampling"), {"train": COUNT})


@pytest.fixture
def build(split: Dataset) -> Callable[..., SampleDataset]:
    def make(**changes: Any) -> SampleDataset:
        args = get_cfg(overrides={"imgsz": 64, "seed": 5, **AUGMENTED, **changes})
        data = {"names": NAMES, "nc": 2, "channels": 3}
        return SampleDataset(read_split(split, "train"), args, data, train=True, batch=BATCH, stride=32, split="train")

    return make


def digest(batch: dict[str, Any]) -> str:
    content = b"".join(batch[key].numpy().tobytes() for key in ("img", "cls", "bboxes", "batch_idx"))
    return hashlib.sha256(content + "".join(batch["im_file"]).encode()).hexdigest()


def epochs(loader: EpochLoader, first: int = 0, closing: int = EPOCHS - 1) -> Iterator[list[str]]:
    """The hashes of the batches of each epoch, asked for as ultralytics does; mosaic is closed before ``closing``."""
    closed = False
    for epoch in range(first, EPOCHS):
        loader.sampler.set_epoch(epoch)
        if epoch >= closing and not closed:
            closed = True
            loader.dataset.close_mosaic(hyp=copy(get_cfg(overrides={"imgsz": 64, "seed": 5, **AUGMENTED})))
            loader.reset()
        yield [digest(batch) for batch in loader]
    loader.close()


def load(data: SampleDataset, workers: int) -> EpochLoader:
    return train_loader(data, batch=BATCH, workers=workers, device=torch.device("cpu"))


def test_any_number_of_workers_gives_the_same_batches(build: Callable[..., SampleDataset]) -> None:
    one = list(epochs(load(build(), 0)))
    assert [len(set(epoch)) for epoch in one] == [4, 4, 4]
    assert len({batch for epoch in one for batch in epoch}) == 12
    for workers in (1, 2, 4):
        loader = load(build(), workers)
        assert loader.num_workers == workers
        assert list(epochs(loader)) == one, workers


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("first", [1, 2], ids=["while mosaic is open", "after it closed"])
def test_a_later_start_gives_the_rest(build: Callable[..., SampleDataset], workers: int, first: int) -> None:
    assert list(epochs(load(build(), workers), first)) == list(epochs(load(build(), 0)))[first:]


def test_an_epoch_that_is_broken_off_and_begun_again(build: Callable[..., SampleDataset]) -> None:
    loader, whole = load(build(), 2), list(epochs(load(build(), 0), closing=9))
    loader.sampler.set_epoch(1)
    assert digest(next(iter(loader))) == whole[1][0]
    assert [digest(batch) for batch in loader] == whole[1]
    loader.sampler.set_epoch(0)
    assert [digest(batch) for batch in loader] == whole[0]


@pytest.mark.parametrize("changes", [{"cache": "ram"}, {"mosaic": 0.0}, {"mosaic": 0.0, "cache": "ram"}], ids=str)
def test_an_item_does_not_depend_on_what_was_read_before(build: Callable[..., SampleDataset], changes: Any) -> None:
    plain = {"translate": 0.0, "scale": 0.0, "degrees": 0.0, "hsv_v": 0.9}
    used, fresh = build(**plain, **changes), build(**plain, **{**changes, "cache": False})
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
    used_before = [used[2, i] for i in reversed(range(COUNT))]
    assert len(used_before) == COUNT
    for i in range(COUNT):
        first, second = used[1, i], fresh[1, i]
        assert all(torch.equal(first[key], second[key]) for key in ("img", "cls", "bboxes")), i
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_mosaics_are_made_of_the_whole_split(build: Callable[..., SampleDataset]) -> None:
    data = build(mixup=0.0, cutmix=0.0)
    chosen: set[int] = set()
    read = data.get_image_and_label
    data.get_image_and_label = lambda index: chosen.add(index) or read(index)
    for epoch in range(8):
        data[epoch, 0]
    assert len(chosen) > COUNT / 2


def test_another_epoch_index_or_seed_is_another_sample(build: Callable[..., SampleDataset]) -> None:
    data = build()
    images = [data[0, 0], data[1, 0], data[0, 1], build(seed=6)[0, 0]]
    assert len({item["img"].numpy().tobytes() for item in images}) == 4
    assert torch.equal(data[0, 0]["img"], images[0]["img"])


def test_albumentations_is_seeded_by_the_sample(build: Callable[..., SampleDataset]) -> None:
    """Its newer versions have random numbers of their own, which ultralytics seeds from the seed of torch."""

    class Noise:
        seed: int | None = None

        def set_random_seed(self, seed: int) -> None:
            self.seed, self.random = seed, random.Random(seed)

        def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
            return {"image": np.full_like(image, self.random.randrange(256))}

    data = build()
    (albumentations,) = (item for item in data.transforms.transforms if isinstance(item, Albumentations))
    albumentations.transform, albumentations.contains_spatial = Noise(), False
    images = [data[draw]["img"] for draw in ((0, 7), (0, 7), (1, 7), (0, 7))]
    assert [torch.equal(image, images[0]) for image in images] == [True, True, False, True]


def test_the_order_is_of_seed_and_epoch() -> None:
    assert sorted(order(0, 0, 1000)) == list(range(1000))
    assert len({tuple(order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_protocol_is_frozen() -> None:
    """Whoever changes these gives PROTOCOL another number."""
    assert order(0, 0, 12) == [7, 6, 0, 5, 8, 4, 2, 11, 1, 3, 10, 9]
    assert order(7, 300, 12) == [8, 7, 3, 1, 2, 10, 6, 0, 9, 11, 5, 4]
    with seeded("sample", 3, 2, 1):
        numbers = random.random(), float(np.random.random()), float(torch.rand(1, dtype=torch.float64))  # noqa: NPY002
    assert numbers == (0.24227037830590714, 0.7187352103596976, 0.6617917654131701)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 13, 24, 25])
def test_ranks_share_every_batch(count: int, ranks: int) -> None:
    batch = 2
    samplers = [EpochSampler(count, 1, batch=batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    whole = EpochSampler(count, 1, batch=batch * ranks)
    for epoch in range(2):
        parts = [list(sampler) for sampler in samplers]
        assert [len(part) for part in parts] == [len(sampler) for sampler in samplers]
        everything = list(whole)
        steps = -(-count // (batch * ranks))
        assert {-(-len(part) // batch) for part in parts} == {steps}, "all ranks make the same number of steps"
        for step in range(steps):
            together = [draw for part in parts for draw in part[step * batch : (step + 1) * batch]]
            alone = everything[step * batch * ranks : (step + 1) * batch * ranks]
            assert sorted(set(together)) == sorted(alone)
            assert len(together) == max(len(alone), ranks)
            assert {draw[0] for draw in together} == {epoch}


def test_two_ranks_see_the_samples_of_one_process(build: Callable[..., SampleDataset]) -> None:
    data = build()
    samplers = [EpochSampler(COUNT, 5, batch=2, rank=rank, ranks=2) for rank in (0, 1)]
    ours = [data[draw]["img"].numpy().tobytes() for sampler in samplers for draw in sampler]
    loader = load(build(), 2)
    loader.sampler.set_epoch(0)
    alone = [image.numpy().tobytes() for batch in loader for image in batch["img"]]
    loader.close()
    assert set(ours) == set(alone)
    assert len(ours) == COUNT + 1, "the last batch has one sample, which both take"


def test_parts_of_ranks() -> None:
    assert [part_of_rank([1, 2, 3, 4, 5], rank, 2) for rank in (0, 1)] == [[1, 2, 3], [4, 5]]
    assert [part_of_rank([1, 2], rank, 3) for rank in (0, 1, 2)] == [[1], [2], [1]]
    assert seed_bytes("a", 1) != seed_bytes("a", "1/")


@pytest.mark.parametrize(
    ("cores", "runs", "free", "workers"),
    [(16, 1, 64, 8), (16, 4, 64, 4), (2, 1, 64, 2), (2, 4, 64, 1), (16, 1, 1, 3), (16, 1, 1 / 16, 0)],
)
def test_workers_of_auto(monkeypatch: pytest.MonkeyPatch, cores: int, runs: int, free: float, workers: int) -> None:
    """``free``: GiB of shared memory."""
    monkeypatch.setattr(arguments.os, "sched_getaffinity", lambda pid: range(cores))
    monkeypatch.setattr(arguments.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free * 2**30)))
    monkeypatch.setattr(arguments, "SHARED_MEMORY", Path("/"))
    config = make_config(train__imgsz=640, train__batch=16, hardware__workers="auto", hardware__runs_at_once=runs)
    assert loader_workers(config, 0) == workers
    assert loader_workers(config, "cpu") == 1
    assert loader_workers(replace(config, hardware=replace(config.hardware, workers=3)), 0) == 3


@pytest.mark.slow
@pytest.mark.parametrize("inserted", [True, False], ids=["ACmix", "baseline"])
def test_any_number_of_workers_trains_the_same(run_once: Callable[..., Trained], inserted: bool) -> None:
    """Three epochs with mosaic closed for the last, and sizes drawn for each batch, in both arms."""
    extra = {"close_mosaic": 1, "multi_scale": 0.5, "mixup": 0.3}
    config = make_config(train__epochs=3, train__imgsz=128, train__extra=extra)
    config = config if inserted else bare(config)
    runs = [run_once(replace(config, hardware=replace(config.hardware, workers=workers))) for workers in (0, 1, 2, 4)]
    (first, rows, _), *others = runs
    for outcome, other_rows, _ in others:
        assert outcome.seed_proof == first.seed_proof
        assert [{**row, "seconds": 0} for row in other_rows] == [{**row, "seconds": 0} for row in rows]
        pairs = zip(outcome.model.state_dict().values(), first.model.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
