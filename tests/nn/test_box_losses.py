"""Box losses against their formulas, box by box in float64, with gradients; their limits; half precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from acmix_exp.nn.box_losses import EPSILON, InnerIoU, MPDIoU, ShapeIoU, Similarity, WIoU

CASES: dict[str, Any] = {
    "mpdiou": MPDIoU,
    "inner-0.7": lambda: InnerIoU(0.7),
    "inner-1.2": lambda: InnerIoU(1.2),
    "shape-0": ShapeIoU,
    "shape-1.5": lambda: ShapeIoU(1.5),
    "wiou-v1": lambda: WIoU("v1"),
    "wiou-v2": lambda: WIoU("v2"),
    "wiou-v3": WIoU,
}
every_loss = pytest.mark.parametrize("name", CASES)
MEAN = 0.6  # of WIoU, before the batch
DIAGONAL = 20.0**2 + 15.0**2


def make(name: str) -> Any:
    loss = CASES[name]()
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


def literal(name: str, box: Tensor, target: Tensor, relative: float) -> Tensor:
    """The formula of the paper for one box; everything that it differentiates stays a tensor.

    relative: of WIoU, the loss divided by its running mean.
    """
    x1, y1, x2, y2 = box
    a1, b1, a2, b2 = target
    w, h, wt, ht = x2 - x1, y2 - y1, a2 - a1, b2 - b1
    cx, cy, tx, ty = (x1 + x2) / 2, (y1 + y2) / 2, (a1 + a2) / 2, (b1 + b2) / 2

    def overlap(ratio: float) -> Tensor:
        left = torch.max(cx - w * ratio / 2, tx - wt * ratio / 2)
        right = torch.min(cx + w * ratio / 2, tx + wt * ratio / 2)
        top = torch.max(cy - h * ratio / 2, ty - ht * ratio / 2)
        bottom = torch.min(cy + h * ratio / 2, ty + ht * ratio / 2)
        inter = torch.relu(right - left) * torch.relu(bottom - top)
        return inter / (w * h * ratio**2 + wt * ht * ratio**2 - inter)

    iou = overlap(1.0)
    diagonal = (torch.max(x2, a2) - torch.min(x1, a1)) ** 2 + (torch.max(y2, b2) - torch.min(y1, b1)) ** 2
    distance = (cx - tx) ** 2 + (cy - ty) ** 2
    if name == "mpdiou":
        d1, d2 = (x1 - a1) ** 2 + (y1 - b1) ** 2, (x2 - a2) ** 2 + (y2 - b2) ** 2
        return 1 - (iou - d1 / DIAGONAL - d2 / DIAGONAL)
    kind, _, parameter = name.partition("-")
    if kind == "inner":
        v = 4 / math.pi**2 * (torch.atan(wt / ht) - torch.atan(w / h)) ** 2
        alpha = value(v) / (1 - value(iou) + value(v))
        ciou_loss = 1 - iou + distance / diagonal + alpha * v
        return ciou_loss + iou - overlap(float(parameter))
    if kind == "shape":
        scale = float(parameter)
        ww = 2 * wt**scale / (wt**scale + ht**scale)
        hh = 2 * ht**scale / (wt**scale + ht**scale)
        d = hh * (cx - tx) ** 2 / diagonal + ww * (cy - ty) ** 2 / diagonal
        omega_w = hh * (w - wt).abs() / torch.max(w, wt)
        omega_h = ww * (h - ht).abs() / torch.max(h, ht)
        omega = (1 - torch.exp(-omega_w)) ** 4 + (1 - torch.exp(-omega_h)) ** 4
        return 1 - iou + d + 0.5 * omega
    v1 = torch.exp(distance / value(diagonal)) * (1 - iou)
    factor = {"v1": 1.0, "v2": relative**0.5, "v3": relative / (3 * 1.9 ** (relative - 3))}[parameter]
    return factor * v1


@every_loss
def test_equals_the_formula_with_gradients(name: str) -> None:
    given, targets, diagonal = boxes()
    given.requires_grad_()
    loss = make(name)
    actual = loss(given, targets, diagonal)
    assert actual.shape == (len(given), 1)
    mean = MEAN + 0.01 * (float(iou_losses(given.detach(), targets).mean()) - MEAN)
    relative = [float(each) / mean for each in iou_losses(given.detach(), targets)]
    expected = torch.stack(
        [literal(name, box, target, each) for box, target, each in zip(given, targets, relative, strict=True)]
    )
    torch.testing.assert_close(actual.squeeze(1), expected, rtol=1e-5, atol=1e-6)
    weights = torch.cos(torch.arange(len(given), dtype=torch.float64))
    gradients = [torch.autograd.grad((each.view(-1) * weights).sum(), given)[0] for each in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def iou_losses(given: Tensor, targets: Tensor) -> Tensor:
    left, right = torch.max(given[:, :2], targets[:, :2]), torch.min(given[:, 2:], targets[:, 2:])
    inter = (right - left).clamp(min=0).prod(1)
    areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (given, targets)]
    return 1 - inter / (areas[0] + areas[1] - inter)


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
    """Far apart IoU is 0 and has no gradient; the other terms cost more with the distance, but for WIoU's v2 and v3."""
    target = torch.tensor([[0.0, 0.0, 2.0, 3.0]], dtype=torch.float64)
    near, far = ((target + shift).requires_grad_() for shift in (5.0, 9.0))
    diagonal = torch.tensor([[DIAGONAL]], dtype=torch.float64)
    loss = make(name).eval()
    costs = [loss(box, target, diagonal) for box in (near, far)]
    assert costs[0].item() < costs[1].item()
    (gradient,) = torch.autograd.grad(costs[0].sum(), near)
    assert gradient.sum() > 0, "a step against the gradient moves the box back"


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


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("wiou")])
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
    assert float(loss.mean) == pytest.approx(0.9 + 0.1 * float(iou_losses(given, targets).mean()))
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
