"""The operator within torch: operator checks, torch.compile, export, autocast, copies, checkpoints."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from acmix_exp.nn import ACmix
from acmix_exp.ops.window_attention import dispatch, reflected_window_attention
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients

FAST = ("shift", "tile")
PATHS = ("mixed", "attention", "conv")
OPTIONS = {"kernel_size": 5, "heads": 2}
SLOW = pytest.mark.slow


def heads_of(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [t.unflatten(1, (shape[1], shape[2])) for t in random_inputs(*shape, dtype=dtype)[:3]]


@pytest.mark.parametrize("stride", [pytest.param(1, marks=SLOW), 2])
@pytest.mark.parametrize("name", FAST)
def test_opcheck(name: str, stride: int) -> None:
    """Schema, fake implementation, autograd registration and both under dynamic shapes, as torch checks them."""
    leaves = [t.detach().requires_grad_() for t in heads_of(1, 2, 3, 4, 5)]
    operator = dispatch.OPERATORS[name]
    torch.library.opcheck(operator, (*leaves, 3, stride, 1))
    last = [t.detach().permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2) for t in leaves]
    torch.library.opcheck(operator, (*last, 1, stride, 1), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("name", FAST)
def test_the_custom_operator_equals_the_plain_function(name: str, batch: int) -> None:
    inputs = heads_of(batch, 2, 3, 5, 7)
    operator = dispatch.OPERATORS[name]
    actual = with_gradients(lambda *maps: operator(*maps, 5, 2, 1)[0], inputs)
    expected = with_gradients(lambda *maps: dispatch.attend(name, *maps, 5, 2, 1), inputs)
    assert_all_close(actual, expected, TOLERANCE[torch.float32])


def compiles(backend: str, compiler: str) -> None:
    """One graph for all sizes, output and gradients those of the eager call."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(compiler)
    function = partial(reflected_window_attention, **OPTIONS, backend=backend)
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
    # Sizes that are equal in the first call are taken to be equal in all.
    for batch, height, width in ((3, 6, 7), (5, 9, 12), (4, 11, 10)):
        inputs = random_inputs(batch, 2, 4, height, width, torch.float32)
        assert_all_close(with_gradients(compiled, inputs), with_gradients(function, inputs), 1e-5)
    assert counter.frame_count == 1


@pytest.mark.parametrize("backend", ["auto", pytest.param("shift", marks=SLOW)])
def test_compiles_as_one_graph_for_all_sizes(backend: str) -> None:
    compiles(backend, "aot_eager")


@SLOW
@pytest.mark.parametrize("backend", FAST)
def test_inductor(backend: str) -> None:
    compiles(backend, "inductor")


@pytest.mark.parametrize(
    ("path", "compiler"), [("mixed", "aot_eager"), *(pytest.param(path, "inductor", marks=SLOW) for path in PATHS)]
)
def test_the_module_compiles_as_one_graph(path: str, compiler: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    block = ACmix(8, 8, kernel_att=5, head=2, path=path)
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=compiler)
    for size in ((6, 7), (9, 12)):
        x = torch.randn(2, 8, *size)
        results = []
        for form in (block, compiled):
            out = form(x)
            results.append([out, *torch.autograd.grad(out.square().sum(), list(block.parameters()))])
        for actual, expected in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@SLOW  # tests/nn/test_acmix_export.py exports the module
def test_exports_with_symbolic_sizes() -> None:
    torch.manual_seed(0)
    block = ACmix(4, 4, kernel_att=3, head=2).eval()
    sizes = {2: torch.export.Dim("height", min=4, max=64), 3: torch.export.Dim("width", min=4, max=64)}
    with torch.no_grad():
        exported = torch.export.export(block, (torch.randn(1, 4, 6, 7),), dynamic_shapes=(sizes,)).module()
        x = torch.randn(1, 4, 11, 5)
        torch.testing.assert_close(exported(x), block(x))


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_module_under_autocast(dtype: torch.dtype, backend: str) -> None:
    """Inputs and outputs have the autocast dtype; the gradients of the weights are float32."""
    torch.manual_seed(0)
    block = ACmix(8, 8, kernel_att=5, head=2, backend=backend)
    x = torch.randn(2, 8, 6, 7)
    with torch.autocast("cpu", dtype):
        out = block(x)
    assert out.dtype == dtype
    grads = torch.autograd.grad(out.float().square().sum(), list(block.parameters()))
    expected = block(x)
    exact = torch.autograd.grad(expected.square().sum(), list(block.parameters()))
    assert all(grad.dtype == torch.float32 for grad in grads)
    for actual, target in zip((out, *grads), (expected, *exact), strict=True):
        error = (actual.float() - target).abs().max()
        assert error <= 4 * TOLERANCE[dtype] * max(1.0, target.abs().max().item())


@pytest.mark.parametrize("path", PATHS)
def test_a_copy_is_independent(path: str) -> None:
    torch.manual_seed(0)
    block = ACmix(4, 4, kernel_att=3, head=2, path=path)
    x = torch.randn(1, 4, 5, 6)
    expected = block(x)
    expected.sum().backward()
    twin = copy.deepcopy(block)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("backend", ["reference", *FAST])
def test_activation_checkpointing(backend: str, reentrant: bool) -> None:
    inputs = random_inputs(2, 2, 3, 5, 6)
    function = partial(reflected_window_attention, **OPTIONS, backend=backend)

    def recomputed(*tensors: Tensor) -> Tensor:
        out: Any = checkpoint(function, *tensors, use_reentrant=reentrant)
        return out

    if not reentrant:
        expected = with_gradients(function, inputs)
        for a, b in zip(with_gradients(recomputed, inputs), expected, strict=True):
            assert torch.equal(a, b)
        return
    # The reentrant form takes .backward() alone.
    results = []
    for form in (function, recomputed):
        leaves = [t.clone().requires_grad_() for t in inputs]
        form(*leaves).square().sum().backward()
        results.append([t.grad for t in leaves])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["auto", *FAST])
def test_second_derivative_is_refused_in_one_line(backend: str) -> None:
    inputs = [t.requires_grad_() for t in random_inputs(1, 1, 2, 3, 3)]
    out = reflected_window_attention(*inputs, kernel_size=3, heads=1, backend=backend)
    with pytest.raises(RuntimeError, match="no second derivative; use backend='reference'") as caught:
        torch.autograd.grad(out.sum(), inputs, create_graph=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FAST)
def test_second_derivative_of_the_operator_is_refused(name: str) -> None:
    leaves = [t.detach().requires_grad_() for t in heads_of(1, 1, 2, 3, 3)]
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(dispatch.OPERATORS[name](*leaves, 3, 1, 1)[0].sum(), leaves, create_graph=True)


def test_the_reference_has_a_second_derivative() -> None:
    inputs = [t.requires_grad_() for t in random_inputs(1, 1, 2, 2, 3)]
    function = partial(reflected_window_attention, kernel_size=3, heads=1, backend="reference")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.autograd.gradgradcheck(function, inputs)
