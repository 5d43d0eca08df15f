"""Comparison of outputs and gradients, and the tolerances of all operator tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Largest error relative to the largest magnitude. 16-bit outputs are rounded once (2^-11, 2^-8), gradients
# once more where they pass through 16-bit inputs.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
NAMES = ("out", "grad query", "grad key", "grad value", "grad position")


def with_gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor | None]) -> list[Tensor]:
    """The output of ``function`` and the gradients of all inputs, for a fixed smooth loss."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in inputs]  # strides stay
    out = function(*leaves)
    weight = torch.cos(0.7 * torch.arange(out.numel(), dtype=torch.float64)).view(out.shape).to(out.dtype)
    grads = torch.autograd.grad(out, [t for t in leaves if t is not None], weight)
    return [out.detach(), *grads]


def assert_close(name: str, actual: Tensor, expected: Tensor, tolerance: float, floor: float = 1e-3) -> None:
    assert actual.shape == expected.shape, f"{name}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    error = (actual.double() - expected.double()).abs().max().item() if actual.numel() else 0.0
    # Gradients that cancel to zero are compared with the size of what cancels, which is about one here.
    limit = tolerance * max(expected.abs().max().item(), floor) if actual.numel() else 0.0
    assert error <= limit, f"{name}: error {error:.3g} exceeds {limit:.3g}"


def assert_all_close(actual: list[Tensor], expected: list[Tensor], tolerance: float, floor: float = 1e-3) -> None:
    for name, a, b in zip(NAMES, actual, expected, strict=False):
        assert_close(name, a, b, tolerance, floor)


def random_inputs(
    batch: int, heads: int, d: int, height: int, width: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> list[Tensor]:
    """query, key, value (batch, heads * d, height, width) and a position weight (d, 2, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    shape = batch, heads * d, height, width
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
    tensors.append(torch.randn(d, 2, 1, 1, generator=generator, dtype=torch.float64))
    return [t.to(dtype) for t in tensors]
