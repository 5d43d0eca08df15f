import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acmix_exp.data import Dataset
from acmix_exp.errors import NonFiniteLoss
from acmix_exp.yolo.model import BlockDetectionModel
from acmix_exp.yolo.run import train
from acmix_exp.yolo.trainer import BlockTrainer
from tests.yolo.builders import make_config


@pytest.fixture
def trainer(dataset: Dataset, tmp_path: Path) -> Callable[..., BlockTrainer]:
    def make(**changes: Any) -> BlockTrainer:
        return BlockTrainer(make_config(**changes), dataset, tmp_path, "cpu", print)

    return make


@pytest.fixture
def start(dataset: Dataset, tmp_path: Path) -> Callable[..., None]:
    def run(**changes: Any) -> None:
        train(make_config(**changes), dataset, tmp_path, device="cpu", resume=False, on_epoch=lambda row: None)

    return run


def test_arguments_are_the_configs(trainer: Callable[..., BlockTrainer]) -> None:
    made = trainer(hardware__workers=1, hardware__threads=1, seed=7, train__extra={"mosaic": 0.5})
    args = made.args
    assert (args.workers, args.seed, args.nbs, args.batch, args.patience) == (1, 7, 4, 4, 0)
    assert (args.optimizer, args.lr0, args.amp, args.plots, args.mosaic) == ("AdamW", 0.002, False, False, 0.5)
    assert torch.get_num_threads() == 1
    assert made.callbacks == {}


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_rates_are_free_of_weight_decay(trainer: Callable[..., BlockTrainer], optimizer: str) -> None:
    made = trainer(train__optimizer=optimizer)
    made._setup_train()
    groups = {group["param_group"]: group for group in made.optimizer.param_groups}
    decayed = {id(p) for p in groups["weight"]["params"]}
    assert groups["weight"]["weight_decay"] > 0
    assert groups["bn"]["weight_decay"] == 0
    block = made.model.blocks()["backbone_p5"]
    assert {id(block.rate1), id(block.rate2)} <= {id(p) for p in groups["bn"]["params"]}
    assert not any(p.ndim <= 1 for p in groups["weight"]["params"])
    assert id(block.conv1.weight) in decayed
    everything = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(everything) == sorted(map(id, made.model.parameters()))


def test_out_of_memory_fails_the_run(start: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []

    def preprocess(self: BlockTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        batches.append(len(batch["img"]))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(BlockTrainer, "preprocess_batch", preprocess)
    with pytest.raises(MemoryError, match=r"out of memory with train\.batch=4 train\.imgsz=64"):
        start()
    assert batches == [4]


@pytest.mark.parametrize("epoch", [0, 1], ids=["first", "later"])
def test_a_loss_that_is_not_finite_fails_the_run(
    start: Callable[..., None], monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    loss = BlockDetectionModel.loss
    calls = [0]

    def poisoned(self: BlockDetectionModel, batch: dict[str, Any], preds: Any = None) -> Any:
        total, items = loss(self, batch, preds)
        calls[0] += self.training
        return (total * float("nan") if calls[0] > 3 * epoch else total), items

    monkeypatch.setattr(BlockDetectionModel, "loss", poisoned)
    with pytest.raises(NonFiniteLoss, match=rf"^loss is not finite \(nan\) in epoch {epoch + 1}$"):
        start()
    assert calls[0] == 3 * epoch + 1


def test_a_validation_loss_that_is_not_finite_fails_the_run(trainer: Callable[..., BlockTrainer]) -> None:
    made = trainer()
    made._setup_train()
    made.epoch, made.epoch_time_start, made.fitness = 0, 0.0, 0.0
    losses = {f"{split}/{name}_loss": 1.0 for split in ("train", "val") for name in ("box", "cls", "dfl")}
    metrics = {f"metrics/{name}(B)": 0.0 for name in ("precision", "recall", "mAP50", "mAP50-95")}
    with pytest.raises(NonFiniteLoss, match="val/cls_loss is not finite"):
        made.save_metrics({**losses, **metrics, "val/cls_loss": float("inf"), "lr/pg0": 0.1})


def test_checkpoints_are_replaced_in_one_step(
    trainer: Callable[..., BlockTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while writing leaves the checkpoint that was there."""
    made = trainer()
    made._setup_train()
    made.epoch, made.fitness, made.best_fitness = 0, 0.0, 0.0
    made._handle_nan_recovery(0)  # called before each save
    made.last.write_bytes(b"before")

    def cut(handle: int) -> None:
        if os.fstat(handle).st_size > 1_000_000:
            os.truncate(handle, 1000)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        made.save_model()
    assert made.last.read_bytes() == b"before"
    assert not made.best.exists()
    monkeypatch.undo()
    assert made.save_model()
    assert torch.load(made.last, weights_only=False)["epoch"] == 0
    assert made.best.exists()
    assert not list(made.wdir.glob(".*"))
