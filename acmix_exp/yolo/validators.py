"""The validators of ultralytics without its time limit, and with a record of their detections per image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.metrics import box_iou
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes

from acmix_exp.outcomes import CONFUSION_CONFIDENCE, CONFUSION_IOU, THRESHOLDS, size_bits


@dataclass(frozen=True)
class Overlaps:
    """Of one image: the sizes of its detections and boxes, and P overlapping pairs of them, as ``Outcomes`` has them.

    detection, target: int [P], indices into the detections and boxes of the image, by detection.
    """

    size: np.ndarray
    target_size: np.ndarray
    detection: np.ndarray
    target: np.ndarray
    iou: np.ndarray


class UntimedValidator(DetectionValidator):
    """A DetectionValidator that scores every image, however busy the machine is.

    That of ultralytics gives up the rest of a batch without an error once its NMS took 2 s and 0.05 s for each image,
    by the clock: on a machine that was suspended or busy the metrics are then those of fewer detections.
    """

    def postprocess(self, preds: Any) -> list[dict[str, torch.Tensor]]:
        """Detections of each image: ``bboxes`` (xyxy, pixels of the network's input), ``conf``, ``cls``, ``extra``."""
        args = self.args
        found = non_max_suppression(
            preds,
            args.conf,
            args.iou,
            multi_label=True,
            agnostic=args.single_cls or args.agnostic_nms,
            max_det=args.max_det,
            max_time_img=math.inf,
            end2end=self.end2end,
        )
        return [{"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in found]


class _Recording(DetectionValidator):
    """Records the detections.

    files: image paths in the order of evaluation. overlaps: by image. detections: per image tp, conf, pred_cls and
    target_cls, as in ``metrics.stats`` of ultralytics, which clears them.
    """

    files: list[str]
    overlaps: list[Overlaps]
    detections: dict[str, list[np.ndarray]]

    def init_metrics(self, model: Any) -> None:
        super().init_metrics(model)
        self.files, self.overlaps = [], []

    def update_metrics(self, preds: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        self.files += batch["im_file"]
        super().update_metrics(preds, batch)

    def _process_batch(self, preds: dict[str, Any], batch: dict[str, Any]) -> dict[str, np.ndarray]:
        self.overlaps.append(overlaps(preds, batch))
        return dict(super()._process_batch(preds, batch))

    def get_stats(self) -> dict[str, Any]:
        self.detections = {key: list(values) for key, values in self.metrics.stats.items()}
        return dict(super().get_stats())


class RecordingValidator(_Recording, UntimedValidator):
    """An UntimedValidator that records its detections."""


class RecordingRTDETRValidator(_Recording, RTDETRValidator):
    """An RTDETRValidator, which has no NMS, that records its detections."""


def overlaps(preds: Mapping[str, torch.Tensor], batch: Mapping[str, Any]) -> Overlaps:
    """Of one image as a DetectionValidator prepares it: ``bboxes`` (xyxy, pixels of the network's input) and ``cls`` of
    both, ``conf`` of ``preds``; ``imgsz``, ``ori_shape`` and ``ratio_pad`` of ``batch``.
    """

    def sizes(boxes: torch.Tensor) -> np.ndarray:
        boxes = scale_boxes(batch["imgsz"], boxes.float().clone(), batch["ori_shape"], batch["ratio_pad"])
        return size_bits(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).cpu().numpy())

    iou = box_iou(batch["bboxes"], preds["bboxes"]).T  # [detections, boxes]
    same = preds["cls"][:, None] == batch["cls"][None]
    confident = preds["conf"][:, None] > CONFUSION_CONFIDENCE
    kept = (same & (iou >= THRESHOLDS[0])) | (confident & (iou > CONFUSION_IOU))
    detection, target = kept.nonzero(as_tuple=True)
    return Overlaps(
        size=sizes(preds["bboxes"]),
        target_size=sizes(batch["bboxes"]),
        detection=detection.cpu().numpy(),
        target=target.cpu().numpy(),
        iou=iou[detection, target].float().cpu().numpy(),
    )
