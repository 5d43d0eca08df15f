"""The loader of training batches: the same batches with any number of worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed
from ultralytics.data.build import InfiniteDataLoader

from acmix_exp.yolo.sample_dataset import SampleDataset
from acmix_exp.yolo.sampling import EpochSampler

PREFETCHED = 4  # batches that a worker holds ready, as in ultralytics


class EpochLoader(InfiniteDataLoader):
    """Batches of the epoch that its sampler's ``set_epoch`` named last.

    Its workers live on from epoch to epoch and already prepare the next one. If another epoch than the next follows,
    or the data set has changed, which :meth:`reset` announces, what they have prepared is thrown away.
    """

    sampler: EpochSampler
    following: int | None = None  # the epoch that comes next; None in the middle of one

    def _get_iterator(self) -> Any:
        self.sampler.restart()
        return super()._get_iterator()

    def __iter__(self) -> Iterator[Any]:
        epoch = self.sampler.epoch
        if self.iterator is not None and self.following != epoch:
            self.reset()
        self.following = None
        yield from super().__iter__()
        self.following = epoch + 1


def train_loader(data: SampleDataset, *, batch: int, workers: int, device: torch.device, rank: int = -1) -> EpochLoader:
    """Build the loader; ``batch`` is that of one process, and ``rank`` -1 outside of distributed training.

    The number of workers is as asked for, but none for a single batch an epoch.
    """
    distributes = rank != -1 and distributed.is_initialized()
    rank, ranks = (distributed.get_rank(), distributed.get_world_size()) if distributes else (0, 1)
    sampler = EpochSampler(len(data), data.seed, batch=batch, shuffle=not data.rect, rank=rank, ranks=ranks)
    workers = 0 if len(sampler) <= batch else workers
    return EpochLoader(
        dataset=data,
        batch_size=min(batch, len(data)),
        sampler=sampler,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        pin_memory=device.type == "cuda",
        collate_fn=data.collate_fn,
        generator=torch.Generator(),  # without one of its own it would draw from that of the training
    )


def cause_of(error: BaseException) -> BaseException:
    """``error``; or, of a loader's worker that ended, torch's error that names its signal."""
    cause = error.__cause__
    return cause if "DataLoader worker" in str(error) and isinstance(cause, RuntimeError) else error
