"""Ground truth and predictions of one image as the plain values that ``images.json`` holds, for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import process_mask, xywhr2xyxyxyxy

from acmix_exp.data import Sample

LOWEST_CONFIDENCE = 0.1
MOST_BOXES = 50  # predictions per image, the most confident ones
MOST_POINTS = 60  # of a polygon
SHOWN = 0.5  # visibility from which a predicted keypoint is stored


class Placed(Protocol):
    """An image as a network gets it; see ``report_images.LetterboxedImage``."""

    @property
    def pixels(self) -> Tensor: ...

    def to_image(self, x: float, y: float) -> tuple[float, float]: ...


def truth(sample: Sample, names: dict[int, str], task: str) -> list[dict[str, Any]]:
    """By object its class, its ``box`` (x1, y1, x2, y2) and what the task adds: ``polygon`` or ``points``, [[x, y]].

    All in fractions of the image.
    """
    entries = []
    for number, (index, x, y, width, height) in enumerate(sample.boxes.tolist()):
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        entry = {"class": names[int(index)], "box": [fraction(value) for value in corners]}
        if task == "pose":
            entry["points"] = _rounded(sample.forms[number][sample.forms[number][:, 2] > 0, :2].tolist())
        elif sample.forms:
            entry["polygon"] = _rounded(_thinned(sample.forms[number].tolist()))
        entries.append(entry)
    return entries


def predictions(
    output: Any,
    boxed: Placed,
    names: dict[int, str],
    task: str,
    kpt_shape: Sequence[int] | None = None,
    *,
    end2end: bool = False,
) -> list[dict[str, Any]]:
    """As :func:`truth`, with a ``confidence``, from the output of a network for one image.

    end2end: the output is of a head that needs no suppression of duplicates.
    """
    # A long time limit, so that a busy machine does not truncate the list.
    options: dict[str, Any] = {"multi_label": False, "max_det": MOST_BOXES, "max_time_img": 60.0, "end2end": end2end}
    if task != "detect":
        options |= {"nc": len(names), "rotated": task == "obb"}
    (found,) = non_max_suppression(output[0] if task == "segment" else output, LOWEST_CONFIDENCE, 0.7, **options)
    forms: list[list[list[float]]] = []
    if task == "segment":
        proto = output[0][1] if isinstance(output[0], tuple) else output[1]
        masks = process_mask(proto[0], found[:, 6:], found[:, :4], tuple(boxed.pixels.shape[-2:]))
        cell = boxed.pixels.shape[-1] / masks.shape[-1]
        forms = [_outline(mask.cpu().numpy(), cell) for mask in masks]
    elif task == "obb":
        forms = xywhr2xyxyxyxy(torch.cat([found[:, :4], found[:, 6:7]], dim=1)).tolist()
    elif task == "pose" and kpt_shape:
        points = found[:, 6:].view(-1, *kpt_shape)
        forms = [[p[:2] for p in each if len(p) < 3 or p[2] > SHOWN] for each in points.tolist()]
    entries = []
    for number, (x1, y1, x2, y2, confidence, index) in enumerate(found[:, :6].tolist()):
        placed = [boxed.to_image(x, y) for x, y in forms[number]] if forms else []
        if task == "obb":
            xs, ys = zip(*placed, strict=True)
            corners = (min(xs), min(ys), max(xs), max(ys))
        else:
            corners = (*boxed.to_image(x1, y1), *boxed.to_image(x2, y2))
        entry = {"class": names[int(index)], "confidence": round(confidence, 4), "box": [fraction(v) for v in corners]}
        if task != "detect":
            entry["points" if task == "pose" else "polygon"] = _rounded(placed)
        entries.append(entry)
    return entries


def _outline(mask: np.ndarray, cell: float) -> list[list[float]]:
    """The largest outline of a mask [H, W], in pixels that are ``cell`` times smaller."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    largest = max(contours, key=cv2.contourArea)[:, 0]
    return _thinned(((largest + 0.5) * cell).tolist())


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """At most ``MOST_POINTS`` of the points, evenly."""
    step = -(-len(points) // MOST_POINTS)
    return points[:: max(step, 1)]


def _rounded(points: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[fraction(value) for value in point] for point in points]


def fraction(value: float) -> float:
    """Within 0 to 1, with four digits."""
    return round(min(max(float(value), 0.0), 1.0), 4)
