"""A checkpoint on a split."""

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
from ultralytics.nn.tasks import DetectionModel, load_checkpoint

from acmix_exp.config import Config
from acmix_exp.data import Dataset, read_split
from acmix_exp.errors import ConfigError
from acmix_exp.outcomes import Outcomes, pack, relative_names
from acmix_exp.yolo import sample_dataset as datasets
from acmix_exp.yolo.arguments import train_arguments


class KeepingValidator(DetectionValidator):
    """A DetectionValidator that keeps what it scored.

    files: the image paths in the order of evaluation. found: by image tp, conf, pred_cls, target_cls, as ultralytics'
    own ``metrics.stats``.
    """

    files: list[str]
    found: dict[str, list[np.ndarray]]

    def init_metrics(self, model: Any) -> None:
        super().init_metrics(model)
        self.files = []

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        self.files += batch["im_file"]
        super().update_metrics(preds, batch)

    def get_stats(self) -> dict[str, Any]:
        self.found = {key: list(values) for key, values in self.metrics.stats.items()}
        return dict(super().get_stats())


def gather(files: Sequence[str], found: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str]) -> Outcomes:
    """The outcomes of an evaluation, in the very order in which ``ap_per_class`` sorts the detections."""
    names = np.array(relative_names(list(files)))
    order = np.argsort(names)
    place = np.empty(len(order), dtype=np.uint32)
    place[order] = np.arange(len(order))
    confidence = np.concatenate(found["conf"])
    ranked = np.argsort(-confidence)  # ties as ultralytics breaks them, on this machine
    image = np.repeat(place, [len(values) for values in found["conf"]])
    targets = np.stack([np.bincount(values.astype(int), minlength=len(classes)) for values in found["target_cls"]])
    return Outcomes(
        images=names[order],
        classes=np.array(list(classes)),
        targets=targets[order].astype(np.uint16),
        image=image[ranked],
        label=np.concatenate(found["pred_cls"])[ranked].astype(np.uint16),
        confidence=confidence[ranked].astype(np.float32),
        matches=pack(np.concatenate(found["tp"])[ranked]),
    )


def evaluate_checkpoint(
    checkpoint: Path, dataset: Dataset, split: str, config: Config, device: str | int, keep: Path | None = None
) -> dict[str, Any]:
    """Metrics of ``checkpoint`` on ``split``, in float32, with the image size and batches of the epochs' validation.

    What was found in each image goes to the file ``keep``, as :class:`acmix_exp.outcomes.Outcomes`.
    ``per_class`` has the classes with at least one box in the split. Raises ConfigError where the data set's
    classes are not the checkpoint's.
    """
    model, _ = load_checkpoint(checkpoint)
    names = {int(key): str(value) for key, value in model.names.items()}
    if names != dict(dataset.names):
        raise ConfigError(
            f"dataset.name={dataset.name}: its classes are {_list(dataset.names)}; "
            f"must be those of the checkpoint, {_list(names)}"
        )
    where = torch.device("cpu" if device == "cpu" else f"cuda:{device}")
    torch.set_num_threads(config.hardware.threads)
    validator = _validate(model.to(where), dataset, split, config, where)
    metrics = validator.metrics
    if keep is not None:
        gather(validator.files, validator.found, list(names.values())).save(keep)
    results = dict(zip(("precision", "recall", "map50", "map50_95"), map(float, metrics.mean_results()), strict=True))
    per_class = {}
    for i, index in enumerate(metrics.ap_class_index):
        _, _, map50, map50_95 = metrics.class_result(i)
        per_class[names[int(index)]] = {"map50": float(map50), "map50_95": float(map50_95)}
    return {**results, "per_class": per_class, "split": split, "checkpoint": checkpoint.name}


def _validate(
    model: DetectionModel, dataset: Dataset, split: str, config: Config, device: torch.device
) -> KeepingValidator:
    """Ultralytics' validator in the mode it has while training, which takes a network and a loader as they are.

    Its other mode wants a data set's YAML file and looks up a font.
    """
    index = "cpu" if device.type == "cpu" else device.index
    with tempfile.TemporaryDirectory() as scratch:
        args = get_cfg(overrides=train_arguments(config, dataset.source, Path(scratch), index))
        data = {split: split, "names": dict(dataset.names), "nc": len(dataset.names), "channels": 3}
        batch = 2 * config.train.batch  # as in training: the shapes of rectangular batches depend on it
        stride = max(int(model.stride.max()), 32)
        images = datasets.build(
            read_split(dataset, split), args, data, train=False, batch=batch, stride=stride, split=split
        )
        loader = build_dataloader(images, batch=batch, workers=args.workers, shuffle=False, device=device)
        validator = KeepingValidator(loader, save_dir=Path(scratch), args=args)
        validator._check_max_det(validator.args, {split: images})
        validator.callbacks.clear()
        model.loss = lambda batch, preds: (None, {})  # not asked for
        try:
            validator(trainer=_trainer(model, data, device))
        finally:
            loader.close()
    return validator


def _trainer(model: DetectionModel, data: dict[str, Any], device: torch.device) -> SimpleNamespace:
    """What the validator asks of a trainer."""
    return SimpleNamespace(
        ema=SimpleNamespace(ema=model),
        device=device,
        data=data,
        amp=False,
        loss_items={},
        stopper=SimpleNamespace(possible_stop=False),
        epoch=0,
        epochs=0,
        world_size=0,
        label_loss_items=lambda losses, prefix: {},
    )


def _list(names: Mapping[int, str]) -> str:
    return ", ".join(str(name) for name in names.values())
