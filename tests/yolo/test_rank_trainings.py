"""Trainings by two ranks, with gloo on the CPU: the same samples and the same start as by one process."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from acmix_exp import child
from acmix_exp.config import Config, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.errors import NonFiniteLoss
from acmix_exp.yolo.resume import STATE
from acmix_exp.yolo.run import Outcome, train
from acmix_exp.yolo.trainer import BlockTrainer
from tests.yolo.builders import bare, make_config, make_dataset

pytestmark = pytest.mark.slow

# Before a rank trains it records, in ``seen``, what it starts from and every batch; afterwards what it ends with.
RECORDED = """
import hashlib, os, sys
from typing import Any
import torch
from acmix_exp.worker import serve
from acmix_exp.yolo import rank_process
from acmix_exp.yolo.trainer import BlockTrainer
{record}
RANK = int(os.environ["RANK"])
def work(job):
    seen = record(BlockTrainer)
    {more}
    train = rank_process.RankTrainer.train
    def and_save(trainer):
        train(trainer)
        state = {{name: value for name, value in trainer.model.module.state_dict().items()}}
        ema = trainer.ema.ema.state_dict()
        torch.save({{**seen, "end": state, "ema": ema}}, job.folder / f"seen{{RANK}}")
    rank_process.RankTrainer.train = and_save
    rank_process.work(job)
sys.exit(serve(lambda: work))
"""


def record(trainer_class: type[BlockTrainer]) -> dict[str, Any]:
    """Have trainers note the weights that they start from and the images of their batches."""
    seen: dict[str, Any] = {"batches": []}
    preprocess = trainer_class.preprocess_batch

    def preprocess_batch(self: BlockTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        if "start" not in seen:
            network = getattr(self.model, "module", self.model)
            seen["start"] = {name: value.clone() for name, value in network.state_dict().items()}
        images = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch["img"]]
        seen["batches"].append((self.epoch, list(zip(batch["im_file"], images, strict=True))))
        return preprocess(self, batch)

    trainer_class.preprocess_batch = preprocess_batch  # type: ignore[method-assign]
    return seen


class Killed(BaseException):
    """Ends a training anywhere, as a signal does."""


class Trained:
    """A run directory, the rows that its trainings reported and the outcome."""

    def __init__(self, folder: Path, config: Config, dataset: Dataset) -> None:
        self.folder, self.config, self.dataset = folder, config, dataset
        self.rows: list[dict[str, float]] = []
        self.outcome: Outcome | None = None
        folder.mkdir()
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))

    def go_on(self, kill_after: int = 0) -> Trained:
        def on_epoch(row: dict[str, float]) -> None:
            self.rows.append(row)
            if row["epoch"] == kill_after:
                raise Killed

        resume = bool(self.rows)
        self.outcome = train(self.config, self.dataset, self.folder, device="cpu", resume=resume, on_epoch=on_epoch)
        return self

    def seen(self, rank: int) -> Any:
        return torch.load(self.folder / f"seen{rank}", weights_only=False)

    def network(self, name: str) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(self.folder / "weights" / name, weights_only=False)[
            "model"
        ].state_dict()
        return state


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("data")
    made = make_dataset(root, {"train": 10, "val": 5})
    lines = {"path": str(root), "train": "images/train", "val": "images/val", "names": made.names}
    (root / "data.yaml").write_text(json.dumps(lines))
    return made


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> Iterator[Callable[..., Trained]]:
    patch = pytest.MonkeyPatch()

    def make(config: Config, more: str = "pass") -> Trained:
        code = RECORDED.format(more=more, record=inspect.getsource(record))
        patch.setattr(child, "command", lambda task, folder: [sys.executable, "-c", code, task, str(folder)])
        config = replace(
            config,
            dataset=replace(config.dataset, path=str(data.source)),
            hardware=replace(config.hardware, gpus_per_run=2),
        )
        return Trained(tmp_path_factory.mktemp("runs") / "run", config, data)

    yield make
    patch.undo()


MIXED = {"mixup": 0.5, "close_mosaic": 1}


@pytest.fixture(scope="module")
def trained(two_ranks: Callable[..., Trained]) -> Trained:
    return two_ranks(make_config(train__extra=MIXED)).go_on()


def test_the_ranks_end_with_the_same_weights(trained: Trained) -> None:
    ends = [trained.seen(rank)["end"] for rank in (0, 1)]
    buffers = {name for name in ends[0] if name.endswith(("running_mean", "running_var"))}
    assert buffers
    different = {name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])}
    assert different <= buffers, "of the parameters none may differ"
    assert different, "BatchNorm statistics are of each rank's own samples"
    average = trained.seen(0)["ema"]
    last = trained.network("last.pt")
    assert all(torch.equal(last[name], average[name].half().to(last[name].dtype)) for name in last)


def test_the_history_is_complete(trained: Trained) -> None:
    assert [row["epoch"] for row in trained.rows] == [1, 2]
    assert not (trained.folder / "weights" / STATE).exists()
    log = (trained.folder / "train.log").read_text()
    assert [log.count(f"epoch {epoch}/2:") for epoch in (1, 2)] == [1, 1]
    assert log.count("weights: from scratch") == 1


def test_stock_yolo_opens_the_checkpoint(trained: Trained) -> None:
    from ultralytics import YOLO

    network = YOLO(trained.folder / "weights" / "best.pt")
    results = network.predict(str(trained.dataset.splits["val"][0]), imgsz=64, verbose=False)
    assert len(results) == 1


def test_together_they_see_what_one_process_sees(trained: Trained, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(BlockTrainer, "preprocess_batch", BlockTrainer.preprocess_batch)
    seen = record(BlockTrainer)
    config = replace(trained.config, hardware=replace(trained.config.hardware, gpus_per_run=1))
    alone = Trained(tmp_path / "alone", config, trained.dataset).go_on()
    parts = [trained.seen(rank)["batches"] for rank in (0, 1)]
    together = [(epoch, first + second) for (epoch, first), (_, second) in zip(*parts, strict=True)]
    assert together == seen["batches"]
    assert len(together) == 6
    for rank in (0, 1):
        start = trained.seen(rank)["start"]
        assert all(torch.equal(start[name], seen["start"][name]) for name in seen["start"])
    assert alone.outcome is not None
    assert trained.outcome is not None
    assert alone.outcome.seed_proof != trained.outcome.seed_proof


def test_arms_pair(trained: Trained, two_ranks: Callable[..., Trained]) -> None:
    """Another arm sees the same samples, and starts from the same weights where both have them."""
    config = bare(make_config(train__extra=MIXED))
    baseline = two_ranks(config).go_on()
    assert baseline.outcome is not None
    assert trained.outcome is not None
    assert baseline.outcome.seed_proof == trained.outcome.seed_proof
    for rank in (0, 1):
        one, other = baseline.seen(rank), trained.seen(rank)
        assert one["batches"] == other["batches"]
        assert torch.equal(one["start"]["model.0.conv.weight"], other["start"]["model.0.conv.weight"])


def test_resumed_it_ends_as_if_it_had_not_stopped(trained: Trained, two_ranks: Callable[..., Trained]) -> None:
    stopped = two_ranks(trained.config)
    with pytest.raises(Killed):
        stopped.go_on(kill_after=1)
    assert (stopped.folder / "weights" / STATE).exists()
    stopped.go_on()
    assert [{**row, "seconds": 0} for row in stopped.rows] == [{**row, "seconds": 0} for row in trained.rows]
    for one, other in zip((stopped.outcome,), (trained.outcome,), strict=True):
        assert one is not None
        assert other is not None
        assert (one.metrics, one.val_best, one.val_last, one.audit) == (
            other.metrics,
            other.val_best,
            other.val_last,
            other.audit,
        )
        assert one.seed_proof == other.seed_proof
    for name in ("best.pt", "last.pt"):
        one_state, other_state = stopped.network(name), trained.network(name)
        assert all(torch.equal(one_state[key], other_state[key]) for key in other_state)
    for rank in (0, 1):
        one_end, other_end = stopped.seen(rank)["end"], trained.seen(rank)["end"]
        assert all(torch.equal(one_end[key], other_end[key]) for key in other_end)


def test_the_mean_of_wiou_is_resumed_too(two_ranks: Callable[..., Trained]) -> None:
    """At the start of each step every rank takes the first one's, as it does the statistics of BatchNorm."""
    placement = PlacementConfig(name="loss", mode="loss", sites=["head"])
    config = make_config(block={"name": "wiou", "version": "v3"}, model__placement=placement)
    whole, stopped = two_ranks(config).go_on(), two_ranks(config)
    with pytest.raises(Killed):
        stopped.go_on(kill_after=1)
    stopped.go_on()
    assert [{**row, "seconds": 0} for row in stopped.rows] == [{**row, "seconds": 0} for row in whole.rows]
    means = [[run.seen(rank)["end"]["box_losses.0.mean"] for rank in (0, 1)] for run in (whole, stopped)]
    assert means[0] == means[1]
    assert all(float(mean) != 1 for mean in means[0])


DIVERGES = """
    def require_finite(self, name, value):
        original(self, name, float("nan") if RANK == 1 and self._batches == 2 else value)
    original, BlockTrainer._require_finite = BlockTrainer._require_finite, require_finite
"""


def test_a_rank_that_diverges_alone_ends_the_run(two_ranks: Callable[..., Trained]) -> None:
    run = two_ranks(make_config(), more=DIVERGES.strip())
    with pytest.raises(NonFiniteLoss, match=r"^rank 1: loss is not finite \(nan\) in epoch 1$"):
        run.go_on()
    assert not run.rows
