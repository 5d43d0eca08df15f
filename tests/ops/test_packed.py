"""Query, key and value in one tensor give the output and gradients of the reference on three tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from acmix_exp.ops.window_attention import reflected_window_attention
from acmix_exp.ops.window_attention.packed import packed_window_attention
from tests.ops.tolerances import TOLERANCE, assert_all_close, with_gradients

BACKENDS = ("auto", "reference", "shift", "tile")


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """In memory (B, d, 3, heads, H, W), as ACmix makes them, and a position weight."""
    generator = torch.Generator().manual_seed(0)
    stack = torch.randn(2, 4, 3, 2, 6, 9, generator=generator, dtype=torch.float64).permute(0, 2, 3, 1, 4, 5)
    return [stack.to(dtype), torch.randn(4, 2, 1, 1, generator=generator, dtype=torch.float64).to(dtype)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (7, 1, 1), (5, 2, 1), (3, 1, 2), (1, 3, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("position", [True, False], ids=["position", "plain"])
def test_equals_three_tensors(
    position: bool, dtype: torch.dtype, kernel: int, stride: int, dilation: int, backend: str
) -> None:
    stack, weight = inputs(dtype)
    options = {"kernel_size": kernel, "heads": 2, "stride": stride, "dilation": dilation}

    def packed(stack: Tensor, weight: Tensor | None = None) -> Tensor:
        return packed_window_attention(stack, weight, **options, backend=backend)

    def three(stack: Tensor, weight: Tensor | None = None) -> Tensor:
        return reflected_window_attention(*stack.unbind(1), weight, **options, backend="reference")

    chosen = [stack, weight] if position else [stack]
    expected = with_gradients(three, [tensor.double() for tensor in chosen])
    assert_all_close(with_gradients(packed, chosen), expected, 4 * TOLERANCE[dtype])
    with torch.no_grad():
        assert_all_close([packed(*chosen)], expected[:1], 4 * TOLERANCE[dtype])


@pytest.mark.parametrize("backend", ["shift", "tile"])
def test_gradients_of_one_input_alone(backend: str) -> None:
    stack, weight = inputs()
    both = with_gradients(
        lambda *t: packed_window_attention(*t, kernel_size=3, heads=2, backend=backend), [stack, weight]
    )
    for at, function in enumerate(
        (
            lambda t: packed_window_attention(t, weight, kernel_size=3, heads=2, backend=backend),
            lambda t: packed_window_attention(stack, t, kernel_size=3, heads=2, backend=backend),
        )
    ):
        assert torch.equal(with_gradients(function, [(stack, weight)[at]])[1], both[1 + at])


@pytest.mark.parametrize("backend", ["shift", "tile"])
def test_the_gradient_has_the_strides_of_the_input(backend: str) -> None:
    stack, weight = (tensor.requires_grad_() for tensor in inputs())
    out = packed_window_attention(stack, weight, kernel_size=3, heads=2, backend=backend)
    assert torch.autograd.grad(out.sum(), stack)[0].stride() == stack.stride()


def test_second_derivative_is_refused() -> None:
    stack, weight = (tensor.requires_grad_() for tensor in inputs())
    out = packed_window_attention(stack, weight, kernel_size=3, heads=2)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out.sum(), stack, create_graph=True)


def test_bad_values_are_refused_as_for_three_tensors() -> None:
    stack, weight = inputs()
    for message, change in (
        ("kernel_size must be odd, got 2", {"kernel_size": 2}),
        ("a query of shape (2, 2, 4, 6, 9) has 2 heads, got heads=4", {"heads": 4}),
        ("position_weight must be (4, 2, 1, 1), got (3, 2, 1, 1)", {"position_weight": weight[:3]}),
    ):
        arguments = {"position_weight": weight, "kernel_size": 3, "heads": 2, **change}
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            packed_window_attention(stack.requires_grad_(), **arguments)
        assert str(caught.value) == message
