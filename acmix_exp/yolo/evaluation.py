"""Evaluate a checkpoint on a data split, and record its detections per image."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.config import Config
from acmix_exp.data import Dataset, read_split
from acmix_exp.errors import ConfigError
from acmix_exp.outcomes import Outcomes, pack, relative_names
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.arguments import train_arguments
from acmix_exp.yolo.sample_dataset import SampleDataset


class RecordingValidator(DetectionValidator):
    """A DetectionValidator that records its detections.

    files: image paths in the order of evaluation. detections: per image tp, conf, pred_cls and target_cls, as in
    ``metrics.stats`` of ultralytics, which clears them.
    """

    files: list[str]
    detections: dict[str, list[np.ndarray]]

    def init_metrics(self, model: Any) -> None:
        super().init_metrics(model)
        self.files = []

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        self.files += batch["im_file"]
        super().update_metrics(preds, batch)

    def get_stats(self) -> dict[str, Any]:
        self.detections = {key: list(values) for key, values in self.metrics.stats.items()}
        return dict(super().get_stats())


def to_outcomes(files: Sequence[str], stats: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str]) -> Outcomes:
    """The detections of an evaluation, in the order in which ``ap_per_class`` of ultralytics sorts them."""
    names = np.array(relative_names(list(files)))
    order = np.argsort(names)
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order))
    confidence = np.concatenate(stats["conf"])
    ranked = np.argsort(-confidence)  # breaks ties as ultralytics does on this machine
    image = np.repeat(rank, [len(values) for values in stats["conf"]])
    targets = np.stack([np.bincount(values.astype(int), minlength=len(classes)) for values in stats["target_cls"]])
    return Outcomes(
        images=names[order],
        classes=np.array(list(classes)),
        targets=targets[order].astype(np.uint16),
        image=image[ranked],
        label=np.concatenate(stats["pred_cls"])[ranked].astype(np.uint16),
        confidence=confidence[ranked].astype(np.float32),
        matches=pack(np.concatenate(stats["tp"])[ranked]),
    )


def evaluate_checkpoint(
    checkpoint: Path, dataset: Dataset, split: str, config: Config, device: str | int, outcomes: Path | None = None
) -> dict[str, Any]:
    """Metrics of ``checkpoint`` on ``split``, in float32, with the image size and batches of validation in training.

    The detections per image are written to the file ``outcomes`` (:class:`acmix_exp.outcomes.Outcomes`). ``per_class``
    has the classes with at least one box in the split. Raises ConfigError if the data set and the checkpoint have
    different classes.
    """
    model, _ = checkpoints.load(checkpoint)
    names = {int(key): str(value) for key, value in model.names.items()}
    if names != dataset.names:
        raise ConfigError(
            f"dataset.name={dataset.name}: its classes are {', '.join(dataset.names.values())}; "
            f"must be those of the checkpoint, {', '.join(names.values())}"
        )
    torch.set_num_threads(config.hardware.threads)
    validator = _validate(model, dataset, split, config, device)
    metrics = validator.metrics
    if outcomes is not None:
        to_outcomes(validator.files, validator.detections, list(names.values())).save(outcomes)
    results = dict(zip(("precision", "recall", "map50", "map50_95"), map(float, metrics.mean_results()), strict=True))
    per_class = {}
    for i, index in enumerate(metrics.ap_class_index):
        _, _, map50, map50_95 = metrics.class_result(i)
        per_class[names[int(index)]] = {"map50": float(map50), "map50_95": float(map50_95)}
    return {**results, "per_class": per_class, "split": split, "checkpoint": checkpoint.name}


def _validate(
    model: DetectionModel, dataset: Dataset, split: str, config: Config, device: str | int
) -> RecordingValidator:
    """Run the validator of ultralytics in its training mode, which accepts a network and a loader.

    Its other mode requires a YAML file of the data set and looks up a font.
    """
    torch_device = torch.device("cpu" if device == "cpu" else f"cuda:{device}")
    with tempfile.TemporaryDirectory() as scratch:
        args = get_cfg(overrides=train_arguments(config, dataset.source, Path(scratch), device))
        data = {split: split, "names": dict(dataset.names), "nc": len(dataset.names), "channels": 3}
        batch = 2 * config.train.batch  # as in training; the shapes of rectangular batches depend on it
        stride = max(int(model.stride.max()), 32)
        samples = read_split(dataset, split)
        images = SampleDataset(samples, args, data, train=False, batch=batch, stride=stride, split=split)
        loader = build_dataloader(images, batch=batch, workers=args.workers, shuffle=False, device=torch_device)
        validator = RecordingValidator(loader, save_dir=Path(scratch), args=args)
        validator._check_max_det(validator.args, {split: images})
        validator.callbacks.clear()
        model.loss = lambda batch, preds: (None, {})  # not needed
        trainer = SimpleNamespace(  # what the validator reads
            ema=SimpleNamespace(ema=model.to(torch_device)),
            device=torch_device,
            data=data,
            amp=False,
            loss_items={},
            stopper=SimpleNamespace(possible_stop=False),
            epoch=0,
            epochs=0,
            world_size=0,
            label_loss_items=lambda losses, prefix: {},
        )
        try:
            validator(trainer=trainer)
        finally:
            loader.close()
    return validator
