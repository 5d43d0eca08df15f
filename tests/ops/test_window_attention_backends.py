"""The fast backends against the reference, in the output and in every gradient."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from acmix_exp.ops.window_attention import reflected_window_attention, tile
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients

FAST = ("shift", "tile")


def with_slow(quick: tuple[int, ...], slow: tuple[int, ...]) -> list[Any]:
    """Values at the bounds, and those between them, which the random shapes have too."""
    return [*quick, *(pytest.param(value, marks=pytest.mark.slow) for value in slow)]


def compare(backend: str, inputs: list[Tensor], tolerance: float = TOLERANCE[torch.float64], **options: object) -> None:
    expected = with_gradients(partial(reflected_window_attention, **options, backend="reference"), inputs)
    actual = with_gradients(partial(reflected_window_attention, **options, backend=backend), inputs)
    assert_all_close(actual, expected, tolerance)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dilation", with_slow((1, 3), (2,)))
@pytest.mark.parametrize("stride", with_slow((1, 3), (2,)))
@pytest.mark.parametrize("kernel", with_slow((1, 3, 9), (5, 7)))
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (5, 4), (7, 13)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_window(size: tuple[int, int], kernel: int, stride: int, dilation: int, backend: str) -> None:
    inputs = random_inputs(2, 2, 3, *size)
    compare(backend, inputs, kernel_size=kernel, heads=2, stride=stride, dilation=dilation)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    ("batch", "heads", "d"),
    [(1, 1, 1), (1, 4, 7), (5, 2, 4), (2, 8, 1), (3, 3, 5), (1, 2, 33), (1, 2, 100), (1, 1, 256), (0, 2, 4)],
    ids=lambda n: str(n),
)
def test_heads(batch: int, heads: int, d: int, backend: str) -> None:
    compare(backend, random_inputs(batch, heads, d, 6, 9), kernel_size=5, heads=heads)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("seed", range(12))
def test_random_shapes(seed: int, backend: str) -> None:
    draw = random.Random(seed)
    heads = draw.randint(1, 4)
    inputs = random_inputs(
        draw.randint(1, 3), heads, draw.randint(1, 9), draw.randint(1, 30), draw.randint(1, 45), seed=seed
    )
    kernel, stride, dilation = draw.choice([1, 3, 5, 7, 9, 11]), draw.randint(1, 3), draw.randint(1, 3)
    compare(backend, inputs, kernel_size=kernel, heads=heads, stride=stride, dilation=dilation)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (3, 4), (8, 8), (40, 40)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_tile_of_any_shape(shape: tuple[int, int], stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Correct for every choice of tile, with incomplete last tiles and several batches per step."""
    monkeypatch.setattr(tile, "choose_tile", lambda *_: shape)
    monkeypatch.setattr(tile, "PAIRS_AT_ONCE", 900)
    compare("tile", random_inputs(3, 2, 4, 11, 17), kernel_size=5, heads=2, stride=stride)


def test_shift_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acmix_exp.ops.window_attention.shift.ELEMENTS_AT_ONCE", 600)
    compare("shift", random_inputs(5, 2, 4, 5, 7), kernel_size=3, heads=2)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("missing", [0, 1, 2, 3], ids=["query", "key", "value", "position"])
def test_some_inputs_without_gradient(missing: int, backend: str) -> None:
    inputs = random_inputs(2, 2, 3, 6, 5)
    for at, tensor in enumerate(inputs):
        tensor.requires_grad_(at != missing)
    grads = {}
    for name in ("reference", backend):
        out = reflected_window_attention(*inputs, kernel_size=3, heads=2, backend=name)
        grads[name] = torch.autograd.grad(out.square().sum(), [t for t in inputs if t.requires_grad])
    torch.testing.assert_close(grads[backend], grads["reference"], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("backend", FAST)
def test_large_logits_do_not_overflow(backend: str) -> None:
    query, key, value, weight = random_inputs(1, 2, 4, 6, 7, torch.float32)
    function = partial(reflected_window_attention, kernel_size=5, heads=2)
    inputs = [query * 100, key * 100, value, weight]
    out, *grads = with_gradients(partial(function, backend=backend), inputs)
    torch.testing.assert_close(out, function(*inputs, backend="reference"), rtol=1e-3, atol=1e-3)
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("kernel", [3, 7])
def test_gradcheck(kernel: int, backend: str) -> None:
    inputs = [t.requires_grad_() for t in random_inputs(1, 2, 2, 4, 3)]
    function = partial(reflected_window_attention, kernel_size=kernel, heads=2, stride=2, backend=backend)
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("backend", FAST)
def test_gradients_are_deterministic(backend: str) -> None:
    inputs = random_inputs(2, 2, 4, 9, 11, torch.float32)
    function = partial(reflected_window_attention, kernel_size=5, heads=2, backend=backend)
    for first, second in zip(with_gradients(function, inputs), with_gradients(function, inputs), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("backend", FAST)
def test_second_derivative_is_refused(backend: str) -> None:
    inputs = [t.requires_grad_() for t in random_inputs(1, 1, 2, 3, 3)]
    out = reflected_window_attention(*inputs, kernel_size=3, heads=1, backend=backend)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out.sum(), inputs, create_graph=True)
