"""Which samples a run is trained on: a function of its seed, the epoch and the index of the image alone.

Neither the loader's processes nor what they did before, nor the rank, have a part in it. No torch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

# Part of a run's identity: any change of the samples is another number. 1 was drawn by worker.
PROTOCOL = 2

Draw = tuple[int, int]  # epoch and index of an image


def seed_bytes(*parts: int | str) -> bytes:
    """32 bytes to seed random numbers with, a function of ``parts``."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


def order(seed: int, epoch: int, count: int) -> list[int]:
    """The indices 0 to ``count`` - 1 in the order of an epoch (from 0).

    Sorted by random numbers, because Python guarantees the sequence of ``random()``, but not that of ``shuffle()``.
    """
    numbers = random.Random(int.from_bytes(seed_bytes("order", seed, epoch)))
    keys = [numbers.random() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)


def part_of_rank(batch: list[int], rank: int, ranks: int) -> list[int]:
    """What one of ``ranks`` processes takes of a batch: consecutive parts, whose sizes differ by one at most.

    Together they are the batch; only where it has fewer samples than ranks, those left without one repeat one of it.
    """
    size, more = divmod(len(batch), ranks)
    start = rank * size + min(rank, more)
    return batch[start : start + size + (rank < more)] or [batch[rank % len(batch)]]


class EpochSampler:
    """Yields the draws of one epoch after the other, first those of the epoch that :meth:`set_epoch` named last.

    batch: samples of one process and step, so all ranks together take ``batch * ranks``. shuffle: false for batches
    of rectangular images, whose shapes depend on their order.
    """

    def __init__(
        self, count: int, seed: int, *, batch: int, shuffle: bool = True, rank: int = 0, ranks: int = 1
    ) -> None:
        self.count, self.seed, self.batch, self.shuffle = count, seed, batch, shuffle
        self.rank, self.ranks = rank, ranks
        self.epoch = self._next = 0

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch that is trained now, from 0."""
        self.epoch = epoch

    def restart(self) -> None:
        """Have the next iterator begin with the epoch that is trained now: loaders run ahead of it."""
        self._next = self.epoch

    def indices(self, epoch: int) -> list[int]:
        """This rank's indices of an epoch."""
        everything = order(self.seed, epoch, self.count) if self.shuffle else list(range(self.count))
        step = self.batch * self.ranks
        batches = (everything[start : start + step] for start in range(0, self.count, step))
        return [index for batch in batches for index in part_of_rank(batch, self.rank, self.ranks)]

    def __iter__(self) -> Iterator[Draw]:
        epoch, self._next = self._next, self._next + 1
        yield from ((epoch, index) for index in self.indices(epoch))

    def __len__(self) -> int:
        """Samples of this rank in an epoch: the same number in each."""
        step = self.batch * self.ranks
        last = self.count % step
        own = len(part_of_rank(list(range(last)), self.rank, self.ranks)) if last else 0
        return self.count // step * self.batch + own
