"""Every block against its straightforward form, with the same weights, in eval mode.

python -m benchmarks.blocks [--set tiny|cpu|gpu]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from acmix_exp.nn import block_names, build_block
from benchmarks.compare import Theme, main
from benchmarks.shapes import MAPS
from benchmarks.straightforward import forwards, straightforward
from benchmarks.verify import Contender, Tensors, Verified, verify

LITERAL, OURS = "straightforward", "acmix_exp"
ROUGHLY = 0.1  # tolerance in the dtype of the case
NOISE = 0.1  # added to the initial weights: a gate that starts at zero would hide the rest


@dataclass(frozen=True)
class BlockCase:
    """A block with the options of its config file, on a (batch, channels, side, side) map."""

    block: str
    batch: int
    channels: int
    side: int
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def label(self) -> str:
        return f"{self.block} {self.batch}x{self.channels}x{self.side}x{self.side} {self.dtype}"

    def small(self) -> BlockCase:
        return replace(self, side=8)

    def place(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.device, getattr(torch, self.dtype))
        return tensor if self.device == "cpu" else tensor.contiguous(memory_format=torch.channels_last)

    def output_gradient(self) -> Tensor:
        shape = (self.batch, self.channels, self.side, self.side)
        count = torch.Size(shape).numel()
        return self.place(torch.cos(0.7 * torch.arange(count, dtype=torch.float64)).view(shape))


def timed() -> list[str]:
    """The blocks that have a straightforward form."""
    classes = set(forwards())
    return [name for name in block_names() if any(type(part) in classes for part in build_block(name, 64).modules())]


def cpu_cases() -> list[BlockCase]:
    sizes = [(1, *MAPS["n"][0]), (4, *MAPS["n"][1])]
    return [BlockCase(name, *size) for name in timed() if name != "acmix" for size in sizes]


def gpu_cases() -> list[BlockCase]:
    return [BlockCase(name, 16, *size, "float16", "cuda") for name in timed() for size in MAPS["n"]]


def tiny_cases() -> list[BlockCase]:
    """Small cases, to check that everything runs."""
    return [BlockCase(name, 1, 32, 8) for name in timed()]


def names(device: str, compiled: bool) -> list[str]:
    return [LITERAL, OURS]


def build(name: str, case: BlockCase) -> Contender:
    block = _block(case)
    form = block if name == OURS else straightforward(block)
    x = _image(case)
    return Contender(name, partial(form, x), {"input": x, **dict(form.named_parameters())})


@lru_cache(maxsize=1)
def reference(case: BlockCase) -> Tensors:
    """Results of the straightforward form in float64, the whole batch at once."""
    double = straightforward(_block(case).double())
    x = _image(case).detach().double().requires_grad_()
    return Contender("expected", partial(double, x), {"input": x, **dict(double.named_parameters())}).gradients(
        case.output_gradient().double()
    )


def prove(name: str, case: BlockCase) -> Verified:
    """Verify a small map in float64 exactly, and the case itself, in its dtype, to ROUGHLY.

    Bilinear sampling has kinks at the pixels' edges, where rounding alone changes a gradient.
    """
    exact = replace(case.small(), dtype="float64")
    rough = reference(case)
    verify(build(name, exact), reference.__wrapped__(exact), exact.output_gradient())
    return verify(build(name, case), rough, case.output_gradient(), ROUGHLY)


def _block(case: BlockCase) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = build_block(case.block, case.channels)
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.add_(NOISE * torch.randn_like(parameter))
    block = block.eval().to(case.device, getattr(torch, case.dtype))
    return block if case.device == "cpu" else block.to(memory_format=torch.channels_last)


def _image(case: BlockCase) -> Tensor:
    shape = (case.batch, case.channels, case.side, case.side)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return case.place(x).requires_grad_()


THEME = Theme(
    name="blocks",
    title="Blocks and their straightforward forms",
    baseline=LITERAL,
    ours=OURS,
    names=names,
    build=build,
    prove=prove,
    sets={"tiny": tiny_cases, "cpu": cpu_cases, "gpu": gpu_cases},
)

if __name__ == "__main__":
    sys.exit(main(THEME))
