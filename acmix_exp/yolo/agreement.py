"""How far an exported network's predictions are from those of torch, and how far they may be.

In float32 the largest difference of any prediction counts. A lower precision moves single predictions, most of them
without confidence: there the 100 most confident of each image count, each with the weight of its score in torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from acmix_exp.model_tasks import CLASSIFY

CELL = 32  # pixels of a grid cell where boxes have none of their own, the largest stride
AT_THE_CUT = 1e-5  # scores this close to the lowest that is returned: which of them are is decided by rounding
CONFIDENT = 100  # predictions of an image that count in a lower precision

PROBABILITIES = ("the largest absolute difference of a probability", "the mean absolute difference of a probability")
LARGEST_TEXT = "the largest absolute difference: boxes in cells of their grid (pixels / stride), scores as they are"
OTHERS_TEXT = (
    "others: mask coefficients and prototypes, keypoints or angles, relative to their size where that is above 1"
)
MEAN_TEXT = (
    f"means over the {CONFIDENT} most confident predictions of each image, weighted by their scores in torch: boxes by "
    "1 - IoU, scores by their absolute difference"
)
# By precision, what the differences of boxes, scores and others may be at most. float32: sums in another order.
# float16: its spacing at 640 is half a pixel. int8: a network that works is well below; a broken one is near 1.
LIMITS = {"fp32": (1e-3, 1e-3, 1e-3), "fp16": (0.02, 0.01, 0.02)}
INT8_LIMITS = (0.2, 0.1, 0.2)


@dataclass(frozen=True)
class Difference:
    """Difference from torch at one image size over all images: boxes, scores and others as ``limits`` are.

    boxes_px: the largest in pixels. compared: predictions of torch that were compared. others: of what a network for
    another task than detect predicts besides.
    """

    height: int
    width: int
    images: int
    boxes_px: float
    boxes: float
    scores: float
    compared: int
    others: float = 0.0


def limits(precision: str, task: str) -> dict[str, float]:
    """The largest difference of boxes, scores and, with another task than detect, others that is agreement.

    Of a classifier that of ``scores``, its probabilities.
    """
    if task == CLASSIFY:
        return {"scores": LIMITS.get(precision, INT8_LIMITS)[1]}
    names = ("boxes", "scores", "others")[: 2 if task == "detect" else 3]
    return dict(zip(names, LIMITS.get(precision, INT8_LIMITS), strict=False))


def measure(precision: str, task: str) -> str:
    """What the differences are, in words."""
    if task == CLASSIFY:
        return PROBABILITIES[precision != "fp32"]
    text = LARGEST_TEXT if precision == "fp32" else MEAN_TEXT
    return text if task == "detect" else f"{text}; {OTHERS_TEXT}"


def dense_difference(
    expected: Sequence[Tensor],
    output: Sequence[Tensor],
    height: int,
    width: int,
    strides: Sequence[int],
    classes: int,
    precision: str,
) -> Difference:
    """Of two predictions (B, 4 + classes + others, anchors), centre x, y, width and height in pixels, and, of a network
    for segmentation, the prototypes (B, masks, h, w) of each. NaN if any holds NaN.

    Raises ValueError if their shapes differ.
    """
    for one, other in zip(expected, output, strict=True):
        _require_shape(one, other, height, width)
    if not all(bool(each.isfinite().all()) for each in (*expected, *output)):
        return Difference(height, width, len(expected[0]), math.nan, math.nan, math.nan, 0, math.nan)
    right = expected[0]
    boxes, scores, others = (right - output[0]).abs().split([4, classes, right.shape[1] - 4 - classes], 1)
    others = others / right[:, 4 + classes :].abs().clamp(min=1)
    maps = [(one - other).abs() / one.abs().clamp(min=1) for one, other in zip(expected[1:], output[1:], strict=True)]
    if precision == "fp32":
        cell = torch.cat([torch.full((height // stride * (width // stride),), float(stride)) for stride in strides])
        largest = [float(each.max()) for each in (others, *maps) if each.numel()]
        found = float((boxes / cell).max()), float(scores.max()), max(largest, default=0.0)
    else:
        confidence = right[:, 4 : 4 + classes].amax(1)
        top = confidence.topk(min(CONFIDENT, confidence.shape[1]), 1).indices
        weights = confidence.gather(1, top).flatten()
        corners = [
            _corners(each[:, :4].transpose(1, 2).gather(1, top[..., None].expand(-1, -1, 4)))
            for each in (right, output[0])
        ]
        overlap = torch.cat([box_iou(a, b).diagonal() for a, b in zip(*corners, strict=True)])
        overlap = overlap.nan_to_num(1.0)  # of two boxes without area
        values = [scores.amax(1), others.mean(1)] if others.numel() else [scores.amax(1)]
        means = _means(weights, 1 - overlap, *(value.gather(1, top).flatten() for value in values))
        found = means[0], means[1], max([*means[2:], *(float(each.mean()) for each in maps)], default=0.0)
    boxes_px = float(boxes.max())
    return Difference(height, width, len(right), boxes_px, *found[:2], right.shape[0] * right.shape[2], found[2])


def probability_difference(expected: Tensor, output: Tensor, height: int, width: int, precision: str) -> Difference:
    """Of two outputs of a classifier (B, classes), as ``scores``. NaN if any is not finite.

    Raises ValueError if their shapes differ.
    """
    _require_shape(expected, output, height, width)
    gaps = (expected - output).abs()
    found = float(gaps.max() if precision == "fp32" else gaps.mean()) if gaps.isfinite().all() else math.nan
    return Difference(height, width, len(expected), 0.0, 0.0, found, expected.numel())


def listed_difference(
    expected: Tensor, output: Tensor, height: int, width: int, precision: str, lowest: float = 0.0
) -> Difference:
    """Of two lists of predictions (B, N, 6): x1, y1, x2, y2 in pixels, score and class, in any order.

    Each prediction is compared with the nearest of its class in the other list; those of the lowest score aside, which
    rounding may exchange. lowest: the score below which there is none; a full list is also cut by its last. Rows of
    score 0 are none. In float32 both lists look for their nearest; in a lower precision those of torch.

    Raises ValueError if the shapes differ.
    """
    _require_shape(expected, output, height, width)
    if not (expected.isfinite().all() and output.isfinite().all()):
        return Difference(height, width, len(expected), math.nan, math.nan, math.nan, 0)
    pairs: list[tuple[Tensor, Tensor | None]] = []  # a prediction and its nearest
    for one, other in zip(expected, output, strict=True):
        mine, theirs = (each[each[:, 4] > 0] for each in (one, other))
        full = max(len(mine), len(theirs)) == len(one)
        pairs += _nearest(mine, theirs, precision, lowest, full)
        if precision == "fp32":
            pairs += _nearest(theirs, mine, precision, lowest, full)
    found = [pair for pair in pairs if pair[1] is not None]
    pixels = [float((row[:4] - near[:4]).abs().max()) for row, near in found if near is not None]
    pixels += [math.inf] * (len(pairs) - len(found))
    scores = [float((row[4] - (0 if near is None else near[4])).abs()) for row, near in pairs]
    overlaps = [0.0 if near is None else float(box_iou(row[None, :4], near[None, :4])) for row, near in pairs]
    if precision == "fp32":
        boxes, score = max(pixels, default=0.0) / CELL, max(scores, default=0.0)
    else:
        weights = torch.tensor([float(row[4]) for row, _ in pairs])
        boxes, score = _means(weights, 1 - torch.tensor(overlaps), torch.tensor(scores))
    return Difference(height, width, len(expected), max(pixels, default=0.0), boxes, score, len(pairs))


def suppressed_difference(
    expected: Tensor, output: Tensor, raw: Tensor, height: int, width: int, lowest: float
) -> Difference:
    """Of two lists after non-maximum suppression as in :func:`listed_difference`, in float32.

    raw: what torch suppresses, (B, 4 + classes, anchors), with corners. Of two boxes with nearly the same score,
    rounding decides which one suppresses the other. So each prediction of the exported network is compared with the
    nearest of ``raw``, and each of torch must have one of its class in the other list that overlaps it by an IoU of
    0.5 or more.
    """
    _require_shape(expected, output, height, width)
    if not (expected.isfinite().all() and output.isfinite().all()):
        return Difference(height, width, len(expected), math.nan, math.nan, math.nan, 0)
    scores, classes = raw[:, 4:].max(1)
    before = torch.cat([raw[:, :4].transpose(1, 2), scores[..., None], classes[..., None].to(raw.dtype)], -1)
    pairs: list[tuple[Tensor, Tensor | None]] = []
    lost = False
    for mine, theirs, all_ in zip(expected, output, before, strict=True):
        full = bool((mine[:, 4] > 0).all() or (theirs[:, 4] > 0).all())
        mine, theirs = mine[mine[:, 4] > 0], theirs[theirs[:, 4] > 0]
        pairs += _nearest(theirs, all_, "fp32", 0.0, False)
        for row, _ in _nearest(mine, theirs, "fp32", lowest, full):
            same = theirs[theirs[:, 5] == row[5]]
            lost |= not len(same) or float(box_iou(row[None, :4], same[:, :4]).max()) < 0.5
    pixels = [math.inf if near is None else float((row[:4] - near[:4]).abs().max()) for row, near in pairs]
    gaps = [math.inf if near is None else float((row[4] - near[4]).abs()) for row, near in pairs]
    largest = math.inf if lost else max(pixels, default=0.0)
    return Difference(height, width, len(expected), largest, largest / CELL, max(gaps, default=0.0), len(pairs))


def _nearest(
    one: Tensor, other: Tensor, precision: str, lowest: float, full: bool
) -> list[tuple[Tensor, Tensor | None]]:
    """Each prediction of an image that counts, and the nearest of its class in the other list, if there is any."""
    if not len(one):
        return []
    cut = float(one[:, 4].min()) if full else lowest
    counted = one[one[:, 4] > cut + AT_THE_CUT]
    if precision != "fp32":
        counted = counted[counted[:, 4].argsort(descending=True)][:CONFIDENT]
    found: list[tuple[Tensor, Tensor | None]] = []
    for row in counted:
        same = other[other[:, 5] == row[5]]
        apart = (same[:, :4] - row[:4]).abs().amax(1) / CELL + (same[:, 4] - row[4]).abs()
        found.append((row, same[apart.argmin()] if len(same) else None))
    return found


def _means(weights: Tensor, *values: Tensor) -> list[float]:
    return [float((weights * value).sum() / weights.sum().clamp(min=1e-12)) for value in values]


def _corners(boxes: Tensor) -> Tensor:
    """Centre and size, (..., 4), as corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def _require_shape(expected: Tensor, output: Tensor, height: int, width: int) -> None:
    if expected.shape != output.shape:
        raise ValueError(
            f"the exported network gives {tuple(output.shape)} at {height}x{width}, not {tuple(expected.shape)}"
        )


def queries_to_list(queries: Tensor, height: int, width: int) -> Tensor:
    """Predictions of an RT-DETR, (B, queries, 6), centre and size in fractions of the image, as a list."""
    scale = queries.new_tensor([width, height, width, height])
    return torch.cat([_corners(queries[..., :4] * scale), queries[..., 4:]], -1)
