"""The validators of ultralytics without its time limit, and with a record of their detections per image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.classify import ClassificationValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.models.yolo.pose import PoseValidator
from ultralytics.models.yolo.segment import SegmentationValidator
from ultralytics.utils.metrics import batch_probiou, box_iou, kpt_iou, mask_iou
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes, xyxy2xywh

from acmix_exp.outcomes import CONFUSION_CONFIDENCE, CONFUSION_IOU, THRESHOLDS, size_bits

BODY = 0.53  # of a box's area is that of what it holds, in the similarity of keypoints: as in ultralytics


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
            nc=0 if args.task == "detect" else self.nc,
            multi_label=True,
            agnostic=args.single_cls or args.agnostic_nms,
            max_det=args.max_det,
            max_time_img=math.inf,
            end2end=self.end2end,
            rotated=args.task == "obb",
        )
        return [{"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in found]


class UntimedSegmentationValidator(SegmentationValidator, UntimedValidator):
    """A SegmentationValidator that scores every image, however busy the machine is."""


class UntimedPoseValidator(PoseValidator, UntimedValidator):
    """A PoseValidator that scores every image, however busy the machine is."""


class UntimedOBBValidator(OBBValidator, UntimedValidator):
    """An OBBValidator that scores every image, however busy the machine is."""


UNTIMED = {  # by task
    "detect": UntimedValidator,
    "segment": UntimedSegmentationValidator,
    "pose": UntimedPoseValidator,
    "obb": UntimedOBBValidator,
    "classify": ClassificationValidator,  # it has no NMS
}


class _Recording(DetectionValidator):
    """Records the detections.

    files: image paths in the order of evaluation. overlaps: by image, in the measure of the headline. detections: per
    image tp, conf, pred_cls and target_cls, as in ``metrics.stats`` of ultralytics, which clears them; ``tp_m`` and
    ``tp_p`` too, of masks and keypoints.
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
        counts = len(preds["cls"]), len(batch["cls"])
        # Of an image without objects, masks may have another size than those of its detections.
        iou = self.similarity(preds, batch).T if all(counts) else preds["bboxes"].new_zeros(counts)
        self.overlaps.append(overlaps(preds, batch, iou, self.areas(preds, batch), self.areas(batch, batch)))
        return dict(super()._process_batch(preds, batch))

    def similarity(self, preds: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        """What a detection is matched by, 0 to 1, [objects, detections]: the IoU of boxes."""
        return box_iou(batch["bboxes"], preds["bboxes"])

    def areas(self, objects: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        """Areas of detections or of ground truth in pixels of the original image: of their boxes."""
        return box_areas(objects, batch)

    def get_stats(self) -> dict[str, Any]:
        self.detections = {key: list(values) for key, values in self.metrics.stats.items()}
        return dict(super().get_stats())


class RecordingValidator(_Recording, UntimedValidator):
    """An UntimedValidator that records its detections."""


class RecordingSegmentationValidator(_Recording, UntimedSegmentationValidator):
    """An UntimedSegmentationValidator that records its detections, matched by the IoU of masks."""

    def similarity(self, preds: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        return mask_iou(batch["masks"].flatten(1).float(), preds["masks"].flatten(1).float())

    def areas(self, objects: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        """Of masks, which are smaller than the network's input."""
        masks = objects["masks"]
        pixels = batch["imgsz"][0] * batch["imgsz"][1] / max(masks.shape[-2] * masks.shape[-1], 1)
        return masks.flatten(1).float().sum(1) * pixels / _enlarged(batch)


class RecordingPoseValidator(_Recording, UntimedPoseValidator):
    """An UntimedPoseValidator that records its detections, matched by the similarity of keypoints (OKS)."""

    def similarity(self, preds: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        area = xyxy2xywh(batch["bboxes"])[:, 2:].prod(1) * BODY
        return kpt_iou(batch["keypoints"], preds["keypoints"], sigma=self.sigma, area=area)


class RecordingOBBValidator(_Recording, UntimedOBBValidator):
    """An UntimedOBBValidator that records its detections, matched by the probabilistic IoU of oriented boxes."""

    def similarity(self, preds: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        return batch_probiou(batch["bboxes"], preds["bboxes"])

    def areas(self, objects: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
        return objects["bboxes"][:, 2:4].float().prod(1) / _enlarged(batch)


RECORDING = {  # by task
    "detect": RecordingValidator,
    "segment": RecordingSegmentationValidator,
    "pose": RecordingPoseValidator,
    "obb": RecordingOBBValidator,
}


def _enlarged(batch: Mapping[str, Any]) -> float:
    """Pixels of the network's input for one of the original image."""
    gain = batch["ratio_pad"][0]
    return float(gain[0]) * float(gain[1])


class RecordingRTDETRValidator(_Recording, RTDETRValidator):
    """An RTDETRValidator, which has no NMS, that records its detections."""


def box_areas(objects: Mapping[str, Any], batch: Mapping[str, Any]) -> torch.Tensor:
    """Areas of ``bboxes`` (xyxy, pixels of the network's input) in pixels of the original image."""
    boxes = scale_boxes(batch["imgsz"], objects["bboxes"].float().clone(), batch["ori_shape"], batch["ratio_pad"])
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(
    preds: Mapping[str, torch.Tensor],
    batch: Mapping[str, Any],
    iou: torch.Tensor,
    areas: torch.Tensor,
    target_areas: torch.Tensor,
) -> Overlaps:
    """Of one image as a DetectionValidator prepares it: ``cls`` of both, ``conf`` of ``preds``.

    iou: [detections, objects]. areas: of detections and of the ground truth, in pixels of the original image.
    """
    same = preds["cls"][:, None] == batch["cls"][None]
    confident = preds["conf"][:, None] > CONFUSION_CONFIDENCE
    kept = (same & (iou >= THRESHOLDS[0])) | (confident & (iou > CONFUSION_IOU))
    detection, target = kept.nonzero(as_tuple=True)
    return Overlaps(
        size=size_bits(areas.cpu().numpy()),
        target_size=size_bits(target_areas.cpu().numpy()),
        detection=detection.cpu().numpy(),
        target=target.cpu().numpy(),
        iou=iou[detection, target].float().cpu().numpy(),
    )
