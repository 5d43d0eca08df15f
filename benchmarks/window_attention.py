"""The operator: every backend of reflected_window_attention, its published form, and its peers on a GPU.

python -m benchmarks.window_attention [--set cpu|gpu|full]
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import Tensor

from acmix_exp.block_rules import BACKENDS
from acmix_exp.ops import reflected_window_attention
from benchmarks import peers
from benchmarks.compare import Theme, main
from benchmarks.published_form import published_operator
from benchmarks.shapes import Case
from benchmarks.verify import Contender, Tensors, expected

PUBLISHED, COMPILED, FLEX, NATTEN = "published", "published, compiled", "flex_attention", "natten"
LEAVES = ("query", "key", "value", "position_weight")
OURS = {f"acmix_exp {name}": name for name in BACKENDS if name != "reference"}


def names(device: str, compiled: bool) -> list[str]:
    listed = [PUBLISHED, COMPILED, *OURS] if compiled else [PUBLISHED, *OURS]
    return [name for name in listed if OURS.get(name) != "triton"] if device == "cpu" else [*listed, FLEX, NATTEN]


def leaves(case: Case) -> Tensors:
    """query, key, value and position_weight, standard normal, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    shapes = [case.shape] * 3 + [(case.channels // case.heads, 2, 1, 1)]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    return {name: case.place(tensor).requires_grad_() for name, tensor in zip(LEAVES, tensors, strict=True)}


def build(name: str, case: Case) -> Contender:
    """Raises peers.Unavailable, or the error of a backend that does not support the case."""
    tensors = leaves(case)
    return Contender(name, partial(_operator(name, case), *tensors.values()), tensors)


def _operator(name: str, case: Case) -> peers.Operator:
    kernel, heads = case.kernel, case.heads
    if name in OURS:
        return partial(reflected_window_attention, kernel_size=kernel, heads=heads, backend=OURS[name])
    if name == FLEX:
        return peers.flex(case.side, case.side, kernel, heads, case.device)
    if name == NATTEN:
        return peers.natten(kernel, heads)
    operator = partial(published_operator, kernel_size=kernel, heads=heads)
    return torch.compile(operator, dynamic=False) if name == COMPILED else operator


def reference(case: Case) -> Tensors:
    """Results of the backend "reference" in float64."""

    def function(tensors: Tensors) -> Tensor:
        query, key, value, weight = (tensors[name] for name in LEAVES)
        return reflected_window_attention(
            query, key, value, weight, kernel_size=case.kernel, heads=case.heads, backend="reference"
        )

    maps = leaves(case)
    weight = maps.pop(LEAVES[-1])
    return expected(function, maps, {LEAVES[-1]: weight}, case.output_gradient())


def traffic(case: Case) -> dict[str, float]:
    """MB that must be moved: every map read or written once.

    Forward: query, key, value, output. Training: these, then the same and the output's gradient read, three gradients
    written.
    """
    one = case.batch * case.channels * case.side**2 * case.torch_dtype.itemsize / 1e6
    return {"forward": 4 * one, "training": 12 * one, "inputs, outputs and gradients": 8 * one}


THEME = Theme(
    name="window_attention",
    title="Reflected window attention, the operator",
    baseline=PUBLISHED,
    ours="acmix_exp auto",
    names=names,
    build=build,
    reference=reference,
    traffic=traffic,
)

if __name__ == "__main__":
    sys.exit(main(THEME))
