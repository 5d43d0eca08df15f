"""Wrong results are refused, and only verified contenders are timed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from benchmarks import measure, module, window_attention
from benchmarks.shapes import Case
from benchmarks.verify import Contender, Tensors, WrongResult, expected, verify

CASE = Case(2, 16, 8, 5)


def square(tensors: Tensors) -> Tensor:
    return tensors["a"] ** 2 * tensors["w"]


def contender(function: Callable[[Tensors], Tensor] = square, dtype: torch.dtype = torch.float32) -> Contender:
    leaves = {"a": torch.arange(1.0, 7.0).view(3, 2), "w": torch.tensor(0.5)}
    leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in leaves.items()}
    return Contender("candidate", partial(function, leaves), leaves)


def check(candidate: Contender) -> None:
    gradient = torch.linspace(-1, 1, 6).view(3, 2)
    truth = expected(square, {"a": candidate.leaves["a"]}, {"w": candidate.leaves["w"]}, gradient)
    verify(candidate, truth, gradient.to(candidate.leaves["a"].dtype))


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, a: Tensor) -> Tensor:
        return a**2

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_correct_result_passes(dtype: torch.dtype) -> None:
    check(contender(dtype=dtype))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: square(t) * 1.001, "output is off by 0.001"),
        (lambda t: WrongGradient.apply(t["a"]) * t["w"], "a is off"),
        (lambda t: square(t) + (0.0 if torch.is_grad_enabled() else 1.0), "output without autograd is off"),
        (lambda t: square(t) / 0.0 * 0.0, "output is off by nan"),
    ],
    ids=["output", "gradient", "without autograd", "nan"],
)
def test_a_wrong_result_is_refused(function: Callable[[Tensors], Tensor], message: str) -> None:
    with pytest.raises(WrongResult, match=message):
        check(contender(function))


def test_a_wrong_shape_is_refused() -> None:
    candidate, gradient = contender(), torch.ones(3, 2)
    truth = expected(square, {"a": candidate.leaves["a"]}, {"w": candidate.leaves["w"]}, gradient)
    truth["w"] = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(WrongResult, match=r"w is \(\) instead of \(2,\)"):
        verify(candidate, truth, gradient)


def test_only_verified_contenders_are_timed() -> None:
    with pytest.raises(TypeError, match="verify"):
        measure.timings([contender()], "forward", "cpu")  # type: ignore[list-item]


@pytest.mark.parametrize("theme", [window_attention.THEME, module.THEME], ids=lambda theme: theme.name)
def test_every_form_is_verified(theme: module.Theme) -> None:
    truth = theme.reference(CASE)
    for name in theme.names("cpu", False):
        verify(theme.build(name, CASE), truth, CASE.output_gradient())


@pytest.mark.parametrize("theme", [window_attention.THEME, module.THEME], ids=lambda theme: theme.name)
def test_the_results_of_a_smaller_window_are_refused(theme: module.Theme) -> None:
    truth = theme.reference(Case(2, 16, 8, 3))
    for name in theme.names("cpu", False):
        with pytest.raises(WrongResult):
            verify(theme.build(name, CASE), truth, CASE.output_gradient())
