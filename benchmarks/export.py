"""ACmix exported to ONNX and run by onnxruntime, against the published form, exported alike. Forward, on a CPU.

"acmix_exp" is the block as trained; "acmix_exp, fused" after ``fuse()``, which the published form does not have.

python -m benchmarks.export        needs the packages onnx and onnxruntime
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acmix_exp.nn import ACmix
from benchmarks import module
from benchmarks.compare import Theme, main
from benchmarks.peers import Unavailable
from benchmarks.shapes import Case
from benchmarks.verify import Contender, Tensors

OPSET = 18
FUSED = "acmix_exp, fused"


def cases() -> list[Case]:
    return [Case(1, channels, 40, 7) for channels in (64, 128, 256)]


def names(device: str, compiled: bool) -> list[str]:
    return [module.PUBLISHED, module.OURS, FUSED]


def build(name: str, case: Case) -> Contender:
    """A session of onnxruntime with as many threads as torch, without leaves because it has no backward pass."""
    x = module.image(case).detach()
    block = module.block(module.PUBLISHED if name == module.PUBLISHED else module.OURS, case)
    if name == FUSED:
        assert isinstance(block, ACmix)
        block.fuse()
    session = _session(block.eval().requires_grad_(False), x)
    return Contender(name, partial(_run, session, x.numpy()), {})


def reference(case: Case) -> Tensors:
    """Output of the published form in float64, in torch."""
    with torch.no_grad():
        output: Tensor = module.block(module.PUBLISHED, case).double()(module.image(case).double())
    return {"output": output}


def _session(block: nn.Module, x: Tensor) -> Any:
    try:
        import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise Unavailable("onnxruntime is not installed") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter: it is deprecated, and sizes are constants
        file = Path(folder) / "block.onnx"
        torch.onnx.export(block, (x,), file, dynamo=False, opset_version=OPSET, input_names=["x"])
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _run(session: Any, x: Any) -> Tensor:
    return torch.from_numpy(session.run(None, {"x": x})[0])


THEME = Theme(
    name="export",
    title="ACmix in ONNX, run by onnxruntime",
    baseline=module.PUBLISHED,
    ours=module.OURS,
    names=names,
    build=build,
    reference=reference,
    sets={"cpu": cases},
    steps=("forward",),
)

if __name__ == "__main__":
    sys.exit(main(THEME))
