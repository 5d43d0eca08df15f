"""Blocks in place of a strided convolution, an upsampling, a concatenation, or the CIoU of the box loss.

The layer of a slot keeps its index and its other keys. Class and attribute names are part of the checkpoint format.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Concat, Conv
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import PoseTaskAlignedAssigner, SegTaskAlignedAssigner, TaskAlignedAssigner

from acmix_exp.nn import Identity
from acmix_exp.nn.box_losses import WIoU
from acmix_exp.yolo.wrap import After, BlockConv, ConvBlock, count_parameters


class UpsampleBlock(nn.Upsample):
    """A block in place of an upsampling, which has no parameters; made from it by :func:`put_in_place`."""

    block: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        upsampled: Tensor = self.block(x)
        return upsampled


class ConcatBlock(Concat):
    """A block in place of a concatenation; made from it by :func:`put_in_place`."""

    block: nn.Module

    def forward(self, x: list[Tensor]) -> Tensor:
        fused: Tensor = self.block(x)
        return fused


HOLDERS = (After, BlockConv, ConvBlock, UpsampleBlock, ConcatBlock)  # layers that hold a block


def put_in_place(network: nn.Sequential, index: int, block: nn.Module) -> None:
    """Put a block in place of what the layer ``index`` of a network does. A Conv keeps its norm and activation."""
    layer: Any = network[index]
    if isinstance(layer, Conv):
        made = BlockConv(block, layer)
        for name in ("i", "f", "type"):  # by which ultralytics runs its layers
            setattr(made, name, getattr(layer, name))
        network[index] = layer = made
    else:
        layer.__class__ = UpsampleBlock if isinstance(layer, nn.Upsample) else ConcatBlock
        layer.block = block
    layer.np = count_parameters(layer)


class StockCIoU(nn.Module):
    """One less the CIoU of ultralytics: the control ``identity``, which must equal the baseline bit for bit."""

    def forward(self, boxes: Tensor, targets: Tensor, diagonal: Tensor) -> Tensor:
        return 1.0 - bbox_iou(boxes, targets, xywh=False, CIoU=True)


class SlotBoxLoss(BboxLoss):
    """The box loss of ultralytics with ``loss`` in place of one less CIoU; its other part, DFL or L1, stays."""

    def __init__(self, reg_max: int, loss: nn.Module) -> None:
        super().__init__(reg_max)
        self.loss = loss

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor,
        fg_mask: Tensor,
        imgsz: Tensor,
        stride: Tensor,
    ) -> tuple[Tensor, Tensor]:
        given = (pred_dist, pred_bboxes, anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask)
        _, other = super().forward(*given, imgsz, stride)
        chosen = fg_mask.nonzero(as_tuple=True)
        weight = target_scores[chosen].sum(-1, keepdim=True)
        # Boxes are in cells here, so the diagonal of the image is too.
        diagonal = (imgsz.float().square().sum() / stride.float().square()).expand(*fg_mask.shape, 1)[chosen]
        loss = self.loss(pred_bboxes[chosen], target_bboxes[chosen], diagonal)
        return (loss * weight).sum() / target_scores_sum, other


class SlotAssigner(TaskAlignedAssigner):
    """A TaskAlignedAssigner that compares boxes by the ``similarity`` of a loss in place of CIoU."""

    similar: Any
    diagonal: Tensor

    def forward(self, scores: Tensor, boxes: Tensor, anchors: Tensor, *targets: Tensor, **extra: Any) -> Any:
        # Anchors are the centres of cells, the last of which ends where the image does.
        sides = anchors.float().amax(0) + min(self.stride) / 2
        self.diagonal = sides.square().sum().view(1, 1)
        return super().forward(scores, boxes, anchors, *targets, **extra)

    def iou_calculation(self, gt_bboxes: Tensor, pd_bboxes: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.similar(pd_bboxes, gt_bboxes, self.diagonal.expand(len(pd_bboxes), 1))
        return found.squeeze(-1).clamp_(0).to(pd_bboxes.dtype)


class SlotSegAssigner(SlotAssigner, SegTaskAlignedAssigner):
    """The same for the segmentation of YOLO26."""


class SlotPoseAssigner(SlotAssigner, PoseTaskAlignedAssigner):
    """The same for the poses of YOLO26."""


ASSIGNERS = {
    TaskAlignedAssigner: SlotAssigner,
    SegTaskAlignedAssigner: SlotSegAssigner,
    PoseTaskAlignedAssigner: SlotPoseAssigner,
}


def criteria_of(criterion: Any) -> list[Any]:
    """The criteria with a box loss in a network's criterion: of a network with two heads both."""
    parts = [getattr(criterion, name, None) for name in ("one2many", "one2one")]
    return [part for part in (*parts, criterion) if type(getattr(part, "bbox_loss", None)) is BboxLoss]


def set_steps(losses: Iterable[nn.Module], steps: int) -> None:
    """Tell the losses that depend on it how many batches a training has."""
    for loss in losses:
        if isinstance(loss, WIoU):
            loss.set_steps(steps)


def install_losses(criterion: Any, losses: nn.ModuleList, assigner: str) -> None:
    """Put ``losses`` into a network's criterion, in place, one for each head; an Identity stands for the stock CIoU.

    assigner: ``same``: boxes are assigned by the similarity of the loss too. Raises ValueError if their numbers differ.
    """
    found = criteria_of(criterion)
    if len(found) != len(losses):
        raise ValueError(f"{type(criterion).__name__} has {len(found)} box losses with a CIoU; must have {len(losses)}")
    for part, loss in zip(found, losses, strict=True):
        stock = isinstance(loss, Identity)
        part.bbox_loss = SlotBoxLoss(part.reg_max, StockCIoU() if stock else loss).to(part.device)
        if assigner == "same" and not stock:
            part.assigner.__class__ = ASSIGNERS[type(part.assigner)]
            part.assigner.similar = loss.similarity
