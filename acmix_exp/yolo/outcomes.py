"""What ultralytics' validator scores, kept image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ultralytics.models.yolo.detect import DetectionValidator

from acmix_exp.outcomes import Outcomes, pack, relative_names


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
