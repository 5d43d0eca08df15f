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
from ultralytics.nn.tasks import BaseModel, RTDETRDetectionModel

from acmix_exp import model_tasks
from acmix_exp.config import Config
from acmix_exp.data import Dataset, read_split
from acmix_exp.errors import ConfigError
from acmix_exp.matching import with_claimed_pairs
from acmix_exp.outcomes import Boxes, Outcomes, pack, relative_names
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.arguments import train_arguments
from acmix_exp.yolo.classification import ClassSamples, RecordingClassifier, class_metrics
from acmix_exp.yolo.heads import both_heads, has_two_heads, with_other_head
from acmix_exp.yolo.sample_dataset import SampleDataset, data_of
from acmix_exp.yolo.validators import RECORDING, Overlaps, RecordingRTDETRValidator, RecordingValidator

METRICS = ("precision", "recall", "map50", "map50_95")  # in the order of ultralytics


def to_outcomes(
    files: Sequence[str],
    stats: Mapping[str, Sequence[np.ndarray]],
    overlaps: Sequence[Overlaps],
    classes: Sequence[str],
) -> Outcomes:
    """The detections of an evaluation, in the order in which ``ap_per_class`` of ultralytics sorts them."""
    names = np.array(relative_names(list(files)))
    order = np.argsort(names)
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order))
    confidence = np.concatenate(stats["conf"])
    ranked = np.argsort(-confidence)  # breaks ties as ultralytics does on this machine
    position = np.empty(len(ranked), dtype=np.uint32)
    position[ranked] = np.arange(len(ranked))
    image = np.repeat(rank, [len(values) for values in stats["conf"]])
    targets = np.stack([np.bincount(values.astype(int), minlength=len(classes)) for values in stats["target_cls"]])
    counts = [len(overlaps[i].target_size) for i in order]
    first_target = np.cumsum([0, *counts[:-1]])[rank]  # of an image, by its place in ``files``
    first = np.cumsum([0, *(len(part.size) for part in overlaps[:-1])])
    pair_detection = position[np.concatenate([first[i] + part.detection for i, part in enumerate(overlaps)])]
    pair_target = np.concatenate([first_target[i] + part.target for i, part in enumerate(overlaps)])
    pairs = np.lexsort((pair_target, pair_detection))
    boxes = Boxes(
        size=np.concatenate([part.size for part in overlaps])[ranked],
        target_image=np.repeat(np.arange(len(order), dtype=np.uint32), counts),
        target_label=np.concatenate([stats["target_cls"][i] for i in order]).astype(np.uint16),
        target_size=np.concatenate([overlaps[i].target_size for i in order]),
        pair_detection=pair_detection[pairs],
        pair_target=pair_target[pairs].astype(np.uint32),
        pair_iou=np.concatenate([part.iou for part in overlaps])[pairs],
    )
    return Outcomes(
        images=names[order],
        classes=np.array(list(classes)),
        targets=targets[order].astype(np.uint16),
        image=image[ranked],
        label=np.concatenate(stats["pred_cls"])[ranked].astype(np.uint16),
        confidence=confidence[ranked].astype(np.float32),
        matches=pack(np.concatenate(stats["tp"])[ranked]),
        boxes=boxes,
    )


def evaluate_checkpoint(
    checkpoint: Path,
    dataset: Dataset,
    split: str,
    config: Config,
    device: str | int,
    outcomes: Path | None = None,
    *,
    detailed: bool = False,
) -> dict[str, Any]:
    """Metrics of ``checkpoint`` on ``split``, in float32, with the image size and batches of validation in training.

    The detections per image are written to the file ``outcomes`` (:class:`acmix_exp.outcomes.Outcomes`). ``per_class``
    has the classes with at least one box in the split; ``detailed``: with precision and recall, which result.json has
    not: a run of any version can be repeated and compared. Of a network with two heads also ``head``, the one that is
    scored, and ``heads``, the metrics of both without classes (:mod:`acmix_exp.yolo.heads`). Of a classifier top1 and
    top5 in place of the others. Raises ConfigError if the data set and the checkpoint have different classes.
    """
    model, _ = checkpoints.load(checkpoint)
    names = {int(key): str(value) for key, value in model.names.items()}
    if names != dataset.names:
        raise ConfigError(
            f"dataset.name={dataset.name}: its classes are {', '.join(dataset.names.values())}; "
            f"must be those of the checkpoint, {', '.join(names.values())}"
        )
    if dataset.keypoints is not None:
        shape, of_model = [dataset.keypoints.count, dataset.keypoints.values], list(model.kpt_shape)
        if shape != of_model:
            raise ConfigError(
                f"dataset.name={dataset.name}: its kpt_shape is {shape}; must be that of the checkpoint, {of_model}"
            )
    torch.set_num_threads(config.hardware.threads)
    validator = _validate(model, dataset, split, config, device)
    metrics, task = validator.metrics, model_tasks.of(config.model)
    named = {} if task.name == model_tasks.DETECT else {"task": task.name, "metric": task.headline}
    if isinstance(validator, RecordingClassifier):
        said = validator.outcomes(list(names.values()))
        if outcomes is not None:
            said.save(outcomes)
        return {**named, **class_metrics(said, names), "split": split, "checkpoint": checkpoint.name}
    if outcomes is not None:
        recorded = {**validator.detections, "tp": validator.detections[task.hits]}, validator.overlaps
        with_claimed_pairs(to_outcomes(validator.files, *recorded, list(names.values()))).save(outcomes)
    # Of a task with a metric of its own, the metrics of boxes come first and those of the headline last.
    results: dict[str, Any] = dict(zip(METRICS, map(float, metrics.mean_results()[-4:]), strict=True))
    if task.letter != "B":
        results["box"] = dict(zip(METRICS, map(float, metrics.mean_results()[:4]), strict=True))
    per_class = {}
    for i, index in enumerate(metrics.ap_class_index):
        values = dict(zip(METRICS, map(float, metrics.class_result(i)[-4:]), strict=True))
        kept = METRICS if detailed else METRICS[2:]
        per_class[names[int(index)]] = {key: values[key] for key in kept}
    scored = {**named, **results, "per_class": per_class, "split": split, "checkpoint": checkpoint.name}
    if not has_two_heads(model):
        return scored
    other = _validate(model, dataset, split, with_other_head(config), device)
    of_other = dict(zip(METRICS, map(float, other.metrics.mean_results()[-4:]), strict=True))
    return {**scored, **both_heads(config, {key: results[key] for key in METRICS}, of_other)}


def _validate(
    model: BaseModel, dataset: Dataset, split: str, config: Config, device: str | int
) -> RecordingValidator | RecordingClassifier:
    """Run the validator of ultralytics in its training mode, which accepts a network and a loader.

    Its other mode requires a YAML file of the data set and looks up a font.
    """
    torch_device = torch.device("cpu" if device == "cpu" else f"cuda:{device}")
    with tempfile.TemporaryDirectory() as scratch:
        args = get_cfg(overrides=train_arguments(config, dataset.source, Path(scratch), device))
        data = {split: split, **data_of(dataset)}
        batch = 2 * config.train.batch  # as in training; the shapes of rectangular batches depend on it
        stride = max(int(model.stride.max()), 32)
        samples, stretched = read_split(dataset, split), isinstance(model, RTDETRDetectionModel)
        classifies = dataset.task == model_tasks.CLASSIFY
        images: Any = (
            ClassSamples(samples, args, train=False, split=split)
            if classifies
            else SampleDataset(
                samples, args, data, train=False, batch=batch, stride=stride, split=split, stretched=stretched
            )
        )
        loader = build_dataloader(images, batch=batch, workers=args.workers, shuffle=False, device=torch_device)
        recording = RecordingRTDETRValidator if stretched else RECORDING.get(dataset.task, RecordingClassifier)
        validator = recording(loader, save_dir=Path(scratch), args=args)
        if not classifies:
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
