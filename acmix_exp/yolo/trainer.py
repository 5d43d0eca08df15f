"""The trainer of ultralytics for one run of an ablation: no automatic adaptation, no uploads, no plots."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch import nn
from ultralytics.data import build_dataloader
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from acmix_exp import model_tasks
from acmix_exp.config import Config
from acmix_exp.data import Dataset, read_split
from acmix_exp.errors import ConfigError, NonFiniteLoss
from acmix_exp.files import replacing
from acmix_exp.model_tasks import CLASSIFY
from acmix_exp.yolo import training_state
from acmix_exp.yolo.arguments import loader_workers, precision, train_arguments
from acmix_exp.yolo.classification import ClassSamples
from acmix_exp.yolo.epoch_record import SeedProof, epoch_line, epoch_row, is_loss, peak_mb
from acmix_exp.yolo.families import starts_from_features
from acmix_exp.yolo.mobilenet import load_backbone
from acmix_exp.yolo.model import BlockModel, build_model
from acmix_exp.yolo.parameter_groups import regroup
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.resume import STATE, Progress
from acmix_exp.yolo.sample_dataset import SampleDataset, data_of, seeded
from acmix_exp.yolo.sample_loader import train_loader
from acmix_exp.yolo.sites import Network
from acmix_exp.yolo.slot_wrap import set_steps
from acmix_exp.yolo.transfer import load_pretrained, scratch_audit, summary
from acmix_exp.yolo.validators import UNTIMED


class AtomicPath(PosixPath):
    """A path whose ``write_bytes`` replaces the file in one step."""

    def write_bytes(self, data: bytes) -> int:  # type: ignore[override]
        with replacing(self) as file:
            return file.write(data)


class NoOptimizer:
    """Stands for the optimizer when last.pt and best.pt are written: its state, most of their bytes, is elsewhere."""

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}, "param_groups": []}


class BlockTrainer(DetectionTrainer):
    """Trains the network of ``config`` on ``dataset``; weights and progress go to ``run_dir/weights``.

    Unlike its parent class it fails the run, naming the cause, instead of halving the batch (out of memory) or going
    back to the last checkpoint (a loss that is not finite). It groups parameters for the optimizer by kind, writes
    checkpoints atomically and leaves the final evaluation to the caller. ``on_epoch`` is called once the checkpoint of
    the epoch is on disk. ``progress``, ``state``: of a run that goes on (``resume.restore``).
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        run_dir: Path,
        device: str | int,
        on_epoch: Callable[[dict[str, float]], None],
        progress: Progress | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.dataset, self.on_epoch = config, dataset, on_epoch
        self.progress, self._state = progress or Progress(), state
        self._proof, self._batches, self._network = SeedProof(), 0, Network.of(config.model)
        self._task = model_tasks.of(config.model)
        self._classifies = self._task.name == CLASSIFY
        super().__init__(overrides=train_arguments(config, dataset.source, run_dir, device))
        self.callbacks.clear()  # integrations and telemetry
        self.last, self.best = AtomicPath(self.wdir, "last.pt"), AtomicPath(self.wdir, "best.pt")
        self.state_path = self.wdir / STATE
        self.args.workers = loader_workers(config, device)  # the parent class forces 0 on a CPU
        torch.set_num_threads(config.hardware.threads)  # and uses all cores but one

    # data

    def get_dataset(self) -> dict[str, Any]:
        return {"train": "train", "val": "val", **data_of(self.dataset)}

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = -1, mode: str = "train"
    ) -> InfiniteDataLoader:
        """The batches of one process; ``rank`` is -1 outside of distributed training."""
        train = mode == "train"
        samples, data = read_split(self.dataset, dataset_path), self.data
        images: Any
        if self._classifies:
            images = ClassSamples(samples, self.args, train=train, split=dataset_path)
        else:
            sizes = {"batch": batch_size, "stride": self.stride, "stretched": self._network.is_transformer}
            images = SampleDataset(samples, self.args, data, train=train, split=dataset_path, **sizes)
        options = {"batch": batch_size, "workers": self.args.workers, "device": self.device, "rank": rank}
        return train_loader(images, **options) if train else build_dataloader(images, shuffle=False, **options)

    def get_validator(self) -> BaseValidator:
        args = super().get_validator().args
        kind = RTDETRValidator if self._network.is_transformer else UNTIMED[self._task.name]
        return kind(self.test_loader, self.save_dir, args, self.callbacks)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._proof.add(batch)
        self._batches += 1
        if self._classifies:  # its samples are normalised
            move = {"device": self.device, "non_blocking": self.device.type == "cuda"}
            return {key: value.to(**move) if torch.is_tensor(value) else value for key, value in batch.items()}
        with seeded("batch", self.args.seed, self.epoch, self._batches):  # multi_scale draws the size of each batch
            return dict(super().preprocess_batch(batch))

    # network

    def get_model(
        self, cfg: str | dict[str, Any] | None = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> BaseModel:
        model = build_model(self.config, nc=self.data["nc"], kpt_shape=self.data.get("kpt_shape"))
        model.names = self.data["names"]
        if self._classifies:
            model.model[-1].drop.p = self.args.dropout
        model_config = self.config.model
        # When resuming too, because it may rebuild the class head; the tensors are replaced afterwards.
        is_detector = model_config.pretrained is not None and not starts_from_features(model_config)
        audit = load_pretrained(model, find_pretrained(model_config)) if is_detector else scratch_audit(model)
        if starts_from_features(model_config):
            audit["transferred"] = load_backbone(model, find_pretrained(model_config))
        if self._state is None:
            self.progress.audit = audit
            if RANK in (-1, 0):
                print(summary(audit, model_config.pretrained), flush=True)
        return model

    def set_model_attributes(self) -> None:
        super().set_model_attributes()
        if shape := self.data.get("kpt_shape"):
            network = self.model
            network.kpt_shape, network.kpt_oks_sigmas = shape, self.data.get("kpt_oks_sigmas")
            numbers = {index: list(map(str, range(shape[0]))) for index in range(self.data["nc"])}
            network.kpt_names = self.data.get("kpt_names") or numbers

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The parent's optimizer, its parameters grouped by kind (``parameter_groups``).

        The norm biases of branches that start at zero have no bias warm-up, which would move the branch. Without bias
        warm-up they stay in their group, so that checkpoints of version 0.1 resume.
        """
        optimizer = super().build_optimizer(model, *args, **kwargs)
        network = unwrap_model(model)
        biases = network.zero_branch_biases() if isinstance(network, BlockModel) else []
        moves = self.args.warmup_epochs and self.args.warmup_bias_lr
        regroup(optimizer, network, biases if moves else ())
        return optimizer

    # training loop

    def train(self) -> None:
        """Train to the last epoch; never by ultralytics' own launcher of ranks, which deletes the run directory."""
        if self.ddp:
            raise RuntimeError(f"device={self.args.device}: several GPUs need a process each, started by yolo/ranks.py")
        super().train()

    def run_callbacks(self, event: str) -> None:
        """Replaces the callbacks of ultralytics."""
        if event == "on_train_start":
            self._require_precision()
            if self._state is not None:
                training_state.restore_random(self.device, self._state)
                self._state = None
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
        elif event == "on_train_epoch_start":
            self._batches = 0
            self.train_loader.sampler.set_epoch(self.epoch)
        elif event == "on_train_batch_end":
            self._require_finite("loss", float(self.loss.detach()))
        elif event == "on_model_save":
            row = self.progress.rows[-1]
            print(epoch_line(row, self.epochs, self._task), flush=True)
            self.on_epoch(row)

    def _require_precision(self) -> None:
        """Raise ConfigError if ultralytics trains in fp32 instead of fp16, as it does on GPUs whose fp16 is faulty."""
        wanted = precision(self.config.hardware, "cpu" if self.device.type == "cpu" else 0)
        if wanted != "fp32" and not bool(self.amp):
            raise ConfigError(
                f"hardware.precision={self.config.hardware.precision}: ultralytics turns {wanted} off on this GPU, "
                f"{torch.cuda.get_device_name(self.device)}; use hardware.precision=fp32"
            )

    def _build_train_pipeline(self) -> None:
        """Raise MemoryError in a second call: ultralytics halves the batch if the first epoch runs out of memory."""
        if hasattr(self, "train_loader"):
            train = self.config.train
            raise MemoryError(
                f"out of memory with train.batch={train.batch} train.imgsz={train.imgsz}; make either smaller"
            )
        super()._build_train_pipeline()
        losses = getattr(unwrap_model(self.model), "box_losses", ())
        set_steps(losses, self.epochs * len(self.train_loader))

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Called at the end of the setup; replaces the resuming of ultralytics, whose checkpoint holds too little."""
        if self._state is not None:
            training_state.restore(self, self._state)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Called in every process after the validation; a loss that is not finite has already failed the run."""
        if self._saves_state():
            self._processes = training_state.gather(self)
        return False

    def _require_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise NonFiniteLoss(f"{name} is not finite ({value}) in epoch {self.epoch + 1}")

    # records and checkpoints

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Record one row per epoch, in place of results.csv."""
        network = unwrap_model(self.ema.ema)
        blocks = network.blocks() if isinstance(network, BlockModel) else {}
        row = epoch_row(self.epoch + 1, metrics, time.time() - self.epoch_time_start, blocks, self._task)
        for key, value in row.items():
            if is_loss(key):
                self._require_finite(key, value)
        self.progress.rows.append(row)
        self.progress.fitness.append(float(self.fitness))
        if not self.progress.seed_proof:
            self.progress.seed_proof = self.seed_proof()
        self.progress.peak_memory_mb = max(self.progress.peak_memory_mb, self.peak_memory_mb())

    def seed_proof(self) -> str:
        return self._proof.hexdigest()

    def peak_memory_mb(self) -> float:
        return peak_mb(self.device)

    def read_results_csv(self) -> dict[str, list[float]]:
        """The rows so far, which ultralytics stores in the checkpoint."""
        rows = self.progress.rows
        return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}

    def _saves_state(self) -> bool:
        return (self.epoch + 1) % self.config.train.save_every == 0 and self.epoch + 1 < self.epochs

    def save_model(self) -> bool:
        """Save the progress, last.pt and best.pt, and then the state, from which alone a run goes on.

        After the last epoch there is none: that the training is complete shows in last.pt.
        """
        self.progress.save(self.wdir)
        optimizer: Any = self.optimizer
        self.optimizer: Any = NoOptimizer()
        try:
            super().save_model()
        finally:
            self.optimizer = optimizer
        if self._saves_state():
            training_state.write(self.state_path, self, self._processes)
        elif self.epoch + 1 == self.epochs:
            self.state_path.unlink(missing_ok=True)
        return True

    def final_eval(self) -> None:
        """Do nothing: the caller evaluates on the split of the headline."""
