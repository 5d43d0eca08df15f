"""Classifiers: their samples, with the transforms of ultralytics, and their evaluation.

Every image gets the class of its folder; see ``acmix_exp/data/class_folders.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate
from ultralytics.data.augment import classify_augmentations, classify_transforms
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import get_split_fraction
from ultralytics.models.yolo.classify import ClassificationValidator
from ultralytics.utils import IterableSimpleNamespace

from acmix_exp.data import Sample
from acmix_exp.outcomes import MOST_PROBABLE, ClassOutcomes, relative_names
from acmix_exp.yolo.sample_dataset import seeded
from acmix_exp.yolo.sampling import Draw


class ClassSamples(ClassificationDataset):
    """A ClassificationDataset of samples in memory: it lists no folders and writes no cache beside them.

    An item is a function of the seed, the epoch and the index: ``data[epoch, index]``; ``data[index]`` is that of epoch
    0. It has ``img`` (float32 [3, imgsz, imgsz], normalised), ``cls`` and ``im_file``. With a ``fraction`` of less than
    1, the images are spread evenly over the split, so that every class stays, as in ultralytics.
    """

    rect = False
    collate_fn = staticmethod(default_collate)

    def __init__(self, samples: Sequence[Sample], args: IterableSimpleNamespace, *, train: bool, split: str) -> None:
        fraction = get_split_fraction(args.fraction, split)
        count = fraction if isinstance(fraction, int) else max(1, round(len(samples) * fraction))
        chosen = np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=int)
        kept = [samples[index] for index in chosen]
        self.samples = [[str(each.image), int(each.boxes[0, 0]), None, None] for each in kept]
        self.seed, self.prefix = int(args.seed), f"{split}: "
        self.cache_ram, self.cache_disk = args.cache is True or str(args.cache).lower() == "ram", False
        if self.cache_ram:
            self.cache_images()
        names = ("erasing", "auto_augment", "hsv_h", "hsv_s", "hsv_v")
        self.torch_transforms = (
            classify_augmentations(
                size=args.imgsz,
                scale=(1.0 - args.scale, 1.0),
                hflip=args.fliplr,
                vflip=args.flipud,
                **{name: getattr(args, name) for name in names},
            )
            if train
            else classify_transforms(size=args.imgsz)
        )

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        epoch, index = draw if isinstance(draw, tuple) else (0, draw)
        with seeded("sample", self.seed, epoch, index):
            return {**super().__getitem__(index), "im_file": self.samples[index][0]}


class RecordingClassifier(ClassificationValidator):
    """A ClassificationValidator that records what it says of each image.

    files: image paths in the order of evaluation. confidences: of each batch the probability of the first class.
    """

    files: list[str]
    confidences: list[torch.Tensor]

    def init_metrics(self, model: Any) -> None:
        super().init_metrics(model)
        self.files, self.confidences = [], []

    def update_metrics(self, preds: torch.Tensor, batch: dict[str, Any]) -> None:
        self.files += batch["im_file"]
        self.confidences.append(preds.float().amax(1).cpu())
        super().update_metrics(preds, batch)

    def outcomes(self, classes: Sequence[str]) -> ClassOutcomes:
        """What was recorded, by image name."""
        names = np.array(relative_names(self.files))
        order = np.argsort(names)
        return ClassOutcomes(
            images=names[order],
            classes=np.array(list(classes)),
            target=torch.cat(self.targets).numpy()[order].astype(np.uint16),
            predicted=torch.cat(self.pred).numpy()[order][:, :MOST_PROBABLE].astype(np.uint16),
            confidence=torch.cat(self.confidences).numpy()[order].astype(np.float32),
        )


def class_metrics(outcomes: ClassOutcomes, names: Mapping[int, str]) -> dict[str, Any]:
    """``top1``, ``top5``, and ``per_class`` the same of the images of each class that the split has."""
    hits = {"top1": outcomes.hits(1), "top5": outcomes.hits(MOST_PROBABLE)}
    per_class = {
        name: {key: float(hit[outcomes.target == index].mean()) for key, hit in hits.items()}
        for index, name in names.items()
        if (outcomes.target == index).any()
    }
    return {**{key: float(hit.mean()) for key, hit in hits.items()}, "per_class": per_class}


def most_probable(output: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """The class that a network gives an image, with its ``confidence`` and, as its ``box``, the whole image."""
    probabilities = output[0][0] if isinstance(output, tuple) else output[0]
    index = int(probabilities.argmax())
    return {"class": names[index], "confidence": round(float(probabilities[index]), 4), "box": [0.0, 0.0, 1.0, 1.0]}
