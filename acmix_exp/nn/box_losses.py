"""Losses of box regression in place of CIoU: MPDIoU, Inner-IoU, Shape-IoU and Wise-IoU.

Each is a module ``loss(boxes, targets, diagonal) -> (N, 1)``. boxes, targets: (N, 4), corners x1, y1, x2, y2 in any one
unit; sides that are negative count as 0. diagonal: (N, 1), the squared diagonal of the image in the square of that
unit, which MPDIoU alone reads. All is computed in float32 or better and finite for boxes without area. Their gradient
can exceed what half precision holds, as that of CIoU in ultralytics can; it is never NaN.

Those that are one less a similarity have a ``similarity`` of the same arguments, which an assigner can use. For a pair
of equal boxes with an area it is 1, up to EPSILON / area.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acmix_exp.ops.checks import check_choice

EPSILON = 1e-7  # as in ultralytics: added where a side, an area or a diagonal divides


class Pair(NamedTuple):
    """Centres and sides of boxes and of their targets, and the sides of the smallest box around both. (N, 1) each."""

    x: Tensor
    y: Tensor
    w: Tensor
    h: Tensor
    target_x: Tensor
    target_y: Tensor
    target_w: Tensor
    target_h: Tensor
    around_w: Tensor
    around_h: Tensor

    @classmethod
    def of(cls, boxes: Tensor, targets: Tensor) -> Pair:
        x1, y1, x2, y2 = _wide(boxes).split(1, -1)
        a1, b1, a2, b2 = _wide(targets).split(1, -1)
        # Of all four corners, so that it is around a box with negative sides too.
        around_w = x1.maximum(x2).maximum(a1).maximum(a2) - x1.minimum(x2).minimum(a1).minimum(a2)
        around_h = y1.maximum(y2).maximum(b1).maximum(b2) - y1.minimum(y2).minimum(b1).minimum(b2)
        own = ((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1).clamp(min=0), (y2 - y1).clamp(min=0))
        true = ((a1 + a2) / 2, (b1 + b2) / 2, (a2 - a1).clamp(min=0), (b2 - b1).clamp(min=0))
        return cls(*own, *true, around_w, around_h)

    def iou(self, ratio: float = 1.0) -> Tensor:
        """Of the boxes with their sides times ``ratio``."""
        w, h, target_w, target_h = (ratio * side for side in (self.w, self.h, self.target_w, self.target_h))
        shared = _overlap(self.x, w, self.target_x, target_w) * _overlap(self.y, h, self.target_y, target_h)
        return shared / (w * h + target_w * target_h - shared + EPSILON)

    def diagonal(self) -> Tensor:
        """The squared diagonal of the box around both."""
        return self.around_w.square() + self.around_h.square() + EPSILON


def _wide(boxes: Tensor) -> Tensor:
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


def _overlap(centre: Tensor, side: Tensor, target: Tensor, target_side: Tensor) -> Tensor:
    upper = (centre + side / 2).minimum(target + target_side / 2)
    return (upper - (centre - side / 2).maximum(target - target_side / 2)).clamp(min=0)


class Similarity(nn.Module, ABC):
    """A loss that is one less a similarity."""

    @abstractmethod
    def similarity(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        """(N, 1), at most 1; the arguments are those of the loss."""

    def forward(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        return 1 - self.similarity(boxes, targets, diagonal)


class MPDIoU(Similarity):
    """``IoU - d1^2 / D^2 - d2^2 / D^2``: d1 and d2 are the distances of the upper left and of the lower right corners,
    D is the diagonal of the image.

    Source: Ma and Xu, MPDIoU, arXiv 2307.07662, equations 9 to 13.
    """

    def similarity(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        moved = (_wide(boxes) - _wide(targets)).square().sum(-1, keepdim=True)
        return Pair.of(boxes, targets).iou() - moved / (diagonal + EPSILON)


class InnerIoU(Similarity):
    """``CIoU - IoU + IoU'``: IoU' is that of the boxes with their sides times ``ratio``.

    Raises ValueError unless ``ratio`` is above 0.

    Source: Zhang, Xu and Zhang, Inner-IoU, arXiv 2311.02877, equations 1 to 7 and 11; CIoU: Zheng et al., AAAI 2020.
    """

    def __init__(self, ratio: float = 0.7) -> None:
        super().__init__()
        _require(ratio=ratio)
        self.ratio = ratio

    def similarity(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        pair = Pair.of(boxes, targets)
        iou = pair.iou()
        return _ciou(pair, iou) - iou + pair.iou(self.ratio)

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"


def _ciou(pair: Pair, iou: Tensor) -> Tensor:
    """IoU less the distance of the centres and the difference of the proportions, whose weight has no gradient."""
    distance = (pair.x - pair.target_x).square() + (pair.y - pair.target_y).square()
    # atan2 of sides without area has no gradient that is finite; that of w / (h + e) has.
    angle = (pair.target_w / (pair.target_h + EPSILON)).atan() - (pair.w / (pair.h + EPSILON)).atan()
    v = 4 / math.pi**2 * angle.square()
    alpha = (v / (1 - iou + v + EPSILON)).detach()
    return iou - distance / pair.diagonal() - alpha * v


class ShapeIoU(Similarity):
    """``IoU - D - O / 2``, with distances D and shapes O that count by the shape of the true box.

    ``D = (h' dx^2 + w' dy^2) / c^2`` with the diagonal c of the box around both, ``w' = 2 w_t^s / (w_t^s + h_t^s)`` and
    h' alike, s = scale. ``O = sum (1 - exp(-o))^4`` over ``o_w = h' |w - w_t| / max(w, w_t)`` and
    ``o_h = w' |h - h_t| / max(h, h_t)``.

    Raises ValueError if ``scale`` is negative.

    Source: Zhang and Zhang, Shape-IoU, arXiv 2312.17663, equations 4 to 13.
    """

    def __init__(self, scale: float = 0.0) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:
            raise ValueError(f"scale must be a number from 0, got {scale}")
        self.scale = scale

    def similarity(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        pair = Pair.of(boxes, targets)
        wide = (pair.target_w + EPSILON).pow(self.scale)
        high = (pair.target_h + EPSILON).pow(self.scale)
        weigh_w, weigh_h = 2 * wide / (wide + high), 2 * high / (wide + high)
        dx, dy = pair.x - pair.target_x, pair.y - pair.target_y
        distance = (weigh_h * dx.square() + weigh_w * dy.square()) / pair.diagonal()
        o_w = weigh_h * (pair.w - pair.target_w).abs() / (pair.w.maximum(pair.target_w) + EPSILON)
        o_h = weigh_w * (pair.h - pair.target_h).abs() / (pair.h.maximum(pair.target_h) + EPSILON)
        shape = (1 - (-o_w).exp()).pow(4) + (1 - (-o_h).exp()).pow(4)
        return pair.iou() - distance - shape / 2

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class WIoU(nn.Module):
    """``f R (1 - IoU)`` with ``R = exp(d^2 / c^2)``: d is the distance of the centres, c the diagonal of the box around
    both, without gradient.

    f is 1 for v1. b is the loss 1 - IoU relative to its running mean, without gradient: ``f = b^gamma`` for v2 and
    ``f = b / (delta alpha^(b - delta))`` for v3. The running mean, 1 at first, moves by ``momentum`` in training,
    before it is used; it is the buffer ``mean`` and part of a checkpoint. Without a ``momentum`` it is
    ``1 - 0.05^(1 / n)``, of which the paper says that n are the steps until the mAP rises slowly; here they are half of
    those of the training (:meth:`set_steps`), and 300 before these are known.

    Raises ValueError for an unknown version, and unless each number is above 0, and the momentum at most 1.

    Source: Tong et al., Wise-IoU, arXiv 2301.10051, equations 5 to 15.
    """

    mean: Tensor

    def __init__(
        self,
        version: str = "v3",
        gamma: float = 0.5,
        alpha: float = 1.9,
        delta: float = 3.0,
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("version", version, ("v1", "v2", "v3"))
        _require(gamma=gamma, alpha=alpha, delta=delta, **({} if momentum is None else {"momentum": momentum}))
        if momentum is not None and momentum > 1:
            raise ValueError(f"momentum must be at most 1, got {momentum}")
        self.version, self.gamma, self.alpha, self.delta = version, gamma, alpha, delta
        self.momentum, self.follows_steps = momentum or _momentum(300), momentum is None
        if version != "v1":
            self.register_buffer("mean", torch.ones(()))

    def set_steps(self, steps: int) -> None:
        """Tell how many batches the training has; of no effect if a ``momentum`` was given."""
        if self.follows_steps:
            self.momentum = _momentum(max(1.0, steps / 2))

    def forward(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        pair = Pair.of(boxes, targets)
        loss = 1 - pair.iou()
        distance = (pair.x - pair.target_x).square() + (pair.y - pair.target_y).square()
        weighted = (distance / pair.diagonal().detach()).exp() * loss
        return weighted if self.version == "v1" else self._factor(loss.detach()) * weighted

    def _factor(self, loss: Tensor) -> Tensor:
        if self.training and loss.numel():
            with torch.no_grad():
                self.mean.lerp_(loss.mean().to(self.mean.dtype), self.momentum)
        relative = loss / (self.mean.to(loss.dtype) + EPSILON)
        if self.version == "v2":
            return relative.pow(self.gamma)
        return relative / (self.delta * torch.pow(self.alpha, relative - self.delta))

    def extra_repr(self) -> str:
        return f"version={self.version}"


def _momentum(steps: float) -> float:
    """With which 5 % of the first value are left after so many steps."""
    return float(1 - 0.05 ** (1 / steps))


def _require(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0, got {value}")
