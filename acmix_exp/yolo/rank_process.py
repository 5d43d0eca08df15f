"""One of the processes that train a run together, and its trainer; ``ranks.py`` starts them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from torch import distributed, nn
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import RANK, WORLD_SIZE
from ultralytics.utils.torch_utils import init_seeds

from acmix_exp.child import Job
from acmix_exp.config import load
from acmix_exp.data import resolve
from acmix_exp.yolo import resume as resuming
from acmix_exp.yolo.epoch_record import joint_proof
from acmix_exp.yolo.run import prepare
from acmix_exp.yolo.sample_loader import cause_of
from acmix_exp.yolo.trainer import BlockTrainer

TIMEOUT = timedelta(hours=3)  # as in ultralytics; ranks.py ends those that wait for one that has failed


def work(job: Job) -> None:
    """Train the run of the folder as one of its ranks. Steps are JSON: the row of an epoch, or when this rank failed.

    Raises as ``run.train``.
    """
    try:
        config, weights = load(job.folder / "config.yaml"), job.folder / "weights"
        prepare(config)
        progress, state = resuming.Progress(), None
        if job.request["resume"]:
            progress, state = resuming.restore(weights, config.train.epochs)
        progress.record_conditions(job.request["conditions"])
        device = "cpu" if job.device == "cpu" else ",".join(map(str, range(WORLD_SIZE)))
        send_row = lambda row: job.step(json.dumps({"row": row}))  # noqa: E731
        dataset = resolve(config.dataset, config.model.task)
        RankTrainer(config, dataset, job.folder, device, send_row, progress, state).train()
        distributed.destroy_process_group()
    except Exception as error:
        job.step(json.dumps({"failed_at": time.monotonic()}))
        if (cause := cause_of(error)) is not error:
            raise cause from error
        raise


class RankTrainer(BlockTrainer):
    """A BlockTrainer in distributed training. Rank 0 alone writes files and calls ``on_epoch``.

    All ranks start from the weights that one process would start from. As in ultralytics, each keeps BatchNorm
    statistics of its own share of the batches; those of rank 0 are averaged, validated and saved.
    """

    tloss: dict[str, Any]  # means over the epoch of each loss of this rank

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.world_size = WORLD_SIZE  # ultralytics has 0 on a CPU
        self._everyone: list[dict[str, Any]] = []

    def _setup_ddp(self) -> None:
        if self.device.type != "cpu":
            super()._setup_ddp()
        else:
            distributed.init_process_group("gloo", timeout=TIMEOUT, rank=RANK, world_size=self.world_size)

    def _setup_train(self) -> None:
        with contextlib.ExitStack() as stack:
            if self.device.type == "cpu":
                stack.enter_context(_without_device_ids())
            super()._setup_train()

    def get_model(
        self, cfg: str | dict[str, Any] | None = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> BaseModel:
        init_seeds(self.args.seed, deterministic=True)
        model = super().get_model(cfg, weights, verbose)
        init_seeds(self.args.seed + 1 + RANK, deterministic=True)  # what a rank draws while it trains is its own
        return model

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Called in every rank after the validation: share what rank 0 records of all."""
        own = {
            "proof": self._proof.hexdigest(),
            "peak": super().peak_memory_mb(),
            "losses": {name: float(value) for name, value in self.tloss.items()},
        }
        everyone: list[Any] = [None] * self.world_size
        distributed.all_gather_object(everyone, own)
        self._everyone = everyone
        names = everyone[0]["losses"]
        self.tloss = {name: sum(each["losses"][name] for each in everyone) / self.world_size for name in names}
        return super()._handle_nan_recovery(epoch)

    def seed_proof(self) -> str:
        return joint_proof([each["proof"] for each in self._everyone])

    def peak_memory_mb(self) -> float:
        return max(float(each["peak"]) for each in self._everyone)


@contextlib.contextmanager
def _without_device_ids() -> Iterator[None]:
    """ultralytics names a GPU to DistributedDataParallel, which on a CPU takes none."""
    original = nn.parallel.DistributedDataParallel

    def wrap(model: nn.Module, device_ids: Any = None, **options: Any) -> nn.Module:
        return original(model, **options)

    nn.parallel.DistributedDataParallel = wrap  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        nn.parallel.DistributedDataParallel = original  # type: ignore[misc]
