"""Box losses against their formulas, box by box in float64, with gradients; their limits; half precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.nn import box_losses
from acmix_exp.nn.box_losses import EPSILON, InnerIoU, MPDIoU, ShapeIoU, Similarity, WIoU

CASES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "mpdiou": (MPDIoU, {}),
    "inner": (InnerIoU, {"ratio": 0.7}),
    "inner-1": (InnerIoU, {"ratio": 1.0}),
    "inner-1.2": (InnerIoU, {"ratio": 1.2}),
    "shape": (ShapeIoU, {"scale": 0.0}),
    "shape-1.5": (ShapeIoU, {"scale": 1.5}),
    "wiou-v1": (WIoU, {"version": "v1"}),
    "wiou-v2": (WIoU, {"version": "v2", "gamma": 0.5}),
    "wiou-v2-1.7": (WIoU, {"version": "v2", "gamma": 1.7}),
    "wiou-v3": (WIoU, {"version": "v3", "alpha": 1.9, "delta": 3.0}),
    "wiou-v3-1.4-2": (WIoU, {"version": "v3", "alpha": 1.4, "delta": 2.0}),
}
every_loss = pytest.mark.parametrize("name", CASES)
MEAN = 0.6  # of WIoU, before the batch
MOMENTUM = 0.01
DIAGONAL = 20.0**2 + 15.0**2


def make(name: str) -> Any:
    kind, options = CASES[name]
    loss: Any = kind(**options, **({"momentum": MOMENTUM} if kind is WIoU else {}))
    if "mean" in dict(loss.named_buffers()):
        loss.mean.fill_(MEAN)
    return loss


def boxes(count: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes and targets that overlap much, little or not at all."""
    generator = torch.Generator().manual_seed(0)

    def some(spread: float, base: Tensor | None = None) -> Tensor:
        corner = 10 * torch.rand(count, 2, generator=generator, dtype=torch.float64) if base is None else base[:, :2]
        corner = corner + spread * torch.randn(count, 2, generator=generator, dtype=torch.float64)
        return torch.cat([corner, corner + 1 + 5 * torch.rand(count, 2, generator=generator, dtype=torch.float64)], 1)

    targets = some(0.0)
    return some(1.5, targets).to(dtype), targets.to(dtype), torch.full((count, 1), DIAGONAL, dtype=dtype)


def value(x: Tensor) -> float:
    return float(x.detach())


def literal(name: str, box: Tensor, target: Tensor, mean: float) -> Tensor:
    """The formula of docs/blocks.md for one box, with EPSILON where it divides. What has no gradient is a float.

    mean: of 1 - IoU, the running mean of WIoU.
    """
    kind, options = CASES[name]
    x1, y1, x2, y2 = box
    a1, b1, a2, b2 = target
    w, h, wt, ht = x2 - x1, y2 - y1, a2 - a1, b2 - b1
    cx, cy, tx, ty = (x1 + x2) / 2, (y1 + y2) / 2, (a1 + a2) / 2, (b1 + b2) / 2
    iou = overlap(box, target)
    diagonal = (torch.max(x2, a2) - torch.min(x1, a1)) ** 2 + (torch.max(y2, b2) - torch.min(y1, b1)) ** 2 + EPSILON
    distance = (cx - tx) ** 2 + (cy - ty) ** 2
    if kind is MPDIoU:
        d1, d2 = (x1 - a1) ** 2 + (y1 - b1) ** 2, (x2 - a2) ** 2 + (y2 - b2) ** 2
        return 1 - (iou - d1 / (DIAGONAL + EPSILON) - d2 / (DIAGONAL + EPSILON))
    if kind is InnerIoU:
        v = 4 / math.pi**2 * (torch.atan(wt / (ht + EPSILON)) - torch.atan(w / (h + EPSILON))) ** 2
        alpha = value(v) / (1 - value(iou) + value(v) + EPSILON)
        ciou_loss = 1 - iou + distance / diagonal + alpha * v
        return ciou_loss + iou - overlap(box, target, options["ratio"])
    if kind is ShapeIoU:
        wide, high = (wt + EPSILON) ** options["scale"], (ht + EPSILON) ** options["scale"]
        ww, hh = 2 * wide / (wide + high), 2 * high / (wide + high)
        d = hh * (cx - tx) ** 2 / diagonal + ww * (cy - ty) ** 2 / diagonal
        omega_w = hh * (w - wt).abs() / (torch.max(w, wt) + EPSILON)
        omega_h = ww * (h - ht).abs() / (torch.max(h, ht) + EPSILON)
        omega = (1 - torch.exp(-omega_w)) ** 4 + (1 - torch.exp(-omega_h)) ** 4
        return 1 - iou + d + 0.5 * omega
    v1 = torch.exp(distance / value(diagonal)) * (1 - iou)
    beta = (1 - value(iou)) / (mean + EPSILON)
    if options["version"] == "v1":
        return v1
    if options["version"] == "v2":
        return beta ** options["gamma"] * v1
    delta, alpha = options["delta"], options["alpha"]
    return beta / (delta * alpha ** (beta - delta)) * v1


def overlap(box: Tensor, target: Tensor, ratio: float = 1.0) -> Tensor:
    """IoU of two boxes with their sides times ``ratio``."""
    low, high, areas = [], [], []
    for x1, y1, x2, y2 in (box, target):
        (cx, w), (cy, h) = ((x1 + x2) / 2, ratio * (x2 - x1)), ((y1 + y2) / 2, ratio * (y2 - y1))
        low.append((cx - w / 2, cy - h / 2))
        high.append((cx + w / 2, cy + h / 2))
        areas.append(w * h)
    sides = [torch.relu(torch.min(high[0][i], high[1][i]) - torch.max(low[0][i], low[1][i])) for i in (0, 1)]
    shared = sides[0] * sides[1]
    return shared / (areas[0] + areas[1] - shared + EPSILON)


def mean_loss(given: Tensor, targets: Tensor) -> float:
    losses = [1 - value(overlap(box, target)) for box, target in zip(given, targets, strict=True)]
    return sum(losses) / len(losses)


@every_loss
def test_equals_the_formula_with_gradients(name: str) -> None:
    given, targets, diagonal = boxes()
    given.requires_grad_()
    loss = make(name).double()
    if "mean" in dict(loss.named_buffers()):
        loss.mean.fill_(MEAN)  # which float32 rounds
    actual = loss(given, targets, diagonal)
    assert actual.shape == (len(given), 1)
    mean = MEAN + MOMENTUM * (mean_loss(given, targets) - MEAN)
    expected = torch.stack([literal(name, box, target, mean) for box, target in zip(given, targets, strict=True)])
    torch.testing.assert_close(actual.squeeze(1), expected, rtol=1e-10, atol=1e-10)
    weights = torch.cos(torch.arange(len(given), dtype=torch.float64))
    gradients = [torch.autograd.grad((each.view(-1) * weights).sum(), given)[0] for each in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("epsilon", "limit"), [(0.0, 1e-12), (EPSILON, 1e-6)])
def test_inner_iou_of_ratio_1_is_the_stock_ciou(epsilon: float, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """ultralytics adds its epsilon to the heights too, not to a quotient: up to that, losses and gradients agree."""
    from ultralytics.utils.metrics import bbox_iou

    monkeypatch.setattr(box_losses, "EPSILON", epsilon)
    given, targets, diagonal = boxes()
    given.requires_grad_()
    actual = InnerIoU(ratio=1.0)(given, targets, diagonal)
    expected = 1 - bbox_iou(given, targets, xywh=False, CIoU=True, eps=epsilon)
    torch.testing.assert_close(actual, expected, rtol=limit, atol=limit)
    gradients = [torch.autograd.grad(each.sum(), given)[0] for each in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=limit, atol=limit)


@every_loss
def test_equal_boxes_cost_nothing(name: str) -> None:
    _, targets, diagonal = boxes()
    given = targets.clone().requires_grad_()
    loss = make(name)(given, targets, diagonal)
    assert loss.abs().max() < 1e-6
    loss.sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()


@every_loss
def test_disjoint_boxes_are_moved_together(name: str) -> None:
    """Far apart IoU is 0 and has no gradient; the other terms cost more with the distance, and a step against
    their gradient brings the centre of the box nearer. (Not always on each axis: the box around both has a gradient.)
    """
    target = torch.tensor([[0.0, 0.0, 2.0, 3.0]], dtype=torch.float64)
    near, far = ((target + shift).requires_grad_() for shift in (5.0, 9.0))
    diagonal = torch.tensor([[DIAGONAL]], dtype=torch.float64)
    loss = make(name).eval()
    costs = [loss(box, target, diagonal) for box in (near, far)]
    assert costs[0].item() < costs[1].item()
    (gradient,) = torch.autograd.grad(costs[0].sum(), near)
    moved = near.detach() - 0.1 * gradient
    assert loss(moved, target, diagonal).item() < costs[0].item()
    before, after = ((box[:, :2] + box[:, 2:] - target[:, :2] - target[:, 2:]).norm() for box in (near, moved))
    assert after < before


DEGENERATE = [
    [3.0, 4.0, 3.0, 4.0],  # no area
    [3.0, 4.0, 3.0, 9.0],  # a line
    [5.0, 5.0, 2.0, 1.0],  # negative sides, which a head without limits can predict
    [0.0, 0.0, 640.0, 640.0],
    [-1e4, -1e4, 1e4, 1e4],
    [3.0, 4.0, 3.0 + 1e-4, 4.0 + 1e-4],
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@every_loss
def test_degenerate_boxes_are_finite(name: str, dtype: torch.dtype) -> None:
    given = torch.tensor(DEGENERATE).repeat_interleave(len(DEGENERATE), 0).to(dtype).requires_grad_()
    targets = torch.tensor(DEGENERATE).repeat(len(DEGENERATE), 1).to(dtype)
    loss = make(name)(given, targets, torch.full((len(given), 1), 2 * 640.0**2))
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.isfinite().all()
    loss.sum().backward()
    assert given.grad is not None
    assert not given.grad.isnan().any()
    assert dtype == torch.float16 or given.grad.isfinite().all()


@every_loss
def test_no_boxes(name: str) -> None:
    given = torch.zeros(0, 4, requires_grad=True)
    loss = make(name)
    assert loss(given, given.detach(), torch.zeros(0, 1)).shape == (0, 1)
    for mean in loss.buffers():
        assert float(mean) == pytest.approx(MEAN), "an empty batch does not move the running mean"


@every_loss
def test_half_precision_is_close(name: str) -> None:
    given, targets, diagonal = boxes(dtype=torch.float16)
    half = make(name).eval()(given, targets, diagonal.float())
    wide = make(name).eval()(given.double(), targets.double(), diagonal.double())
    torch.testing.assert_close(half.double(), wide, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name, (kind, _) in CASES.items() if kind is not WIoU])
def test_a_similarity_is_one_less_the_loss(name: str) -> None:
    loss = make(name)
    assert isinstance(loss, Similarity)
    given, targets, diagonal = boxes()
    similarity = loss.similarity(given, targets, diagonal)
    torch.testing.assert_close(loss(given, targets, diagonal), 1 - similarity)
    assert similarity.max() <= 1 + EPSILON


def test_the_running_mean_moves_in_training_alone() -> None:
    loss, (given, targets, diagonal) = WIoU("v3", momentum=0.1), boxes()
    assert float(loss.mean) == 1
    loss.eval()(given, targets, diagonal)
    assert float(loss.mean) == 1
    loss.train()(given, targets, diagonal)
    assert float(loss.mean) == pytest.approx(0.9 + 0.1 * mean_loss(given, targets))
    other = WIoU("v3")
    other.load_state_dict(loss.state_dict())
    assert float(other.mean) == float(loss.mean)
    assert not WIoU("v1").state_dict()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InnerIoU(0), "ratio must be a number above 0, got 0"),
        (lambda: ShapeIoU(-1), "scale must be a number from 0, got -1"),
        (lambda: WIoU("v4"), "version must be one of v1, v2, v3, got 'v4'"),
        (lambda: WIoU(momentum=2.0), r"momentum must be at most 1, got 2\.0"),
    ],
)
def test_wrong_options_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()
