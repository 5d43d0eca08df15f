"""A graph traced at one size is correct at any other, in TorchScript and in ONNX, with any backend."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from acmix_exp.nn import ACmix

TRACED = (1, 16, 6, 6)
OTHERS = [(1, 16, 6, 6), (2, 16, 9, 7), (3, 16, 2, 5), (1, 16, 1, 1), (1, 16, 20, 13)]
CASES = [("mixed", "tile", 1), ("mixed", "shift", 2), ("attention", "tile", 1), ("conv", "auto", 1)]


def block(path: str, backend: str, stride: int) -> ACmix:
    torch.manual_seed(0)
    return ACmix(16, 16, kernel_att=5, head=2, stride=stride, path=path, backend=backend).eval().requires_grad_(False)


def torchscript(module: ACmix) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(module, torch.randn(TRACED), check_trace=False)


def onnx(module: ACmix) -> Callable[[Tensor], Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    torch.onnx.export(
        module, (torch.randn(TRACED),), file, dynamo=False, opset_version=18, input_names=["x"], dynamic_axes=axes
    )
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def onnx_of_an_exported_program(module: ACmix) -> Callable[[Tensor], Tensor]:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sizes = {0: "batch", 2: "height", 3: "width"}
    x = torch.randn(2, 16, 20, 24)
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False, dynamic_shapes=(sizes,))
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


@pytest.mark.parametrize("export", [torchscript, onnx])
@pytest.mark.parametrize(("path", "backend", "stride"), CASES, ids=str)
def test_equals_the_reference_at_every_size(export, path, backend, stride):
    module, reference = block(path, backend, stride), block(path, "reference", stride)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = export(module)
    for shape in OTHERS:
        x = torch.randn(shape)
        torch.testing.assert_close(exported(x), reference(x), rtol=1e-5, atol=5e-6)


@pytest.mark.slow
def test_onnx_of_an_exported_program() -> None:
    module = block("mixed", "tile", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = onnx_of_an_exported_program(module)
    for shape in [(2, 16, 20, 24), (1, 16, 9, 7), (3, 16, 4, 40)]:
        x = torch.randn(shape)
        torch.testing.assert_close(exported(x), module(x), rtol=1e-5, atol=5e-6)
