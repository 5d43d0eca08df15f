"""The whole block: acmix_exp.nn.ACmix against the published form with the same weights.

python -m benchmarks.module [--set cpu|gpu|full]
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from torch import Tensor, nn

from acmix_exp.nn import ACmix
from benchmarks.compare import Theme, main
from benchmarks.published_form import PublishedACmix
from benchmarks.shapes import Case
from benchmarks.verify import Contender, Tensors, expected

PUBLISHED, COMPILED, OURS, OURS_COMPILED = "published", "published, compiled", "acmix_exp", "acmix_exp, compiled"
NOISE = 0.1  # added to the initial weights, whose one-hot convolution would hide a wrong order of its taps


def names(device: str, compiled: bool) -> list[str]:
    return [PUBLISHED, COMPILED, OURS, OURS_COMPILED] if compiled else [PUBLISHED, OURS]


def build(name: str, case: Case) -> Contender:
    form = block(name, case)
    x = image(case)
    call = torch.compile(form, dynamic=False) if name in (COMPILED, OURS_COMPILED) else form
    return Contender(name, partial(call, x), {"input": x, **dict(form.named_parameters())})


def reference(case: Case) -> Tensors:
    """Results of the published form in float64."""
    weights = dict(block(PUBLISHED, case).named_parameters())
    double = block(PUBLISHED, case).double()

    def function(tensors: Tensors) -> Tensor:
        parameters = {name: tensors[name] for name in weights}
        out: Tensor = torch.func.functional_call(double, parameters, (tensors["input"],))
        return out

    return expected(function, {"input": image(case)}, weights, case.output_gradient())


def block(name: str, case: Case) -> nn.Module:
    """The same weights for every name, in the case's dtype."""
    form = ACmix if name in (OURS, OURS_COMPILED) else PublishedACmix
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = form(case.channels, case.channels, case.kernel, case.heads)
        weights = PublishedACmix(case.channels, case.channels, case.kernel, case.heads).state_dict()
        module.load_state_dict({key: value + NOISE * torch.randn_like(value) for key, value in weights.items()})
    module = module.to(case.device, case.torch_dtype)
    return module if case.device == "cpu" else module.to(memory_format=torch.channels_last)


def image(case: Case) -> Tensor:
    """The input, standard normal, the same in every process."""
    x = torch.randn(case.shape, generator=torch.Generator().manual_seed(1))
    return case.place(x).requires_grad_()


THEME = Theme(
    name="module",
    title="ACmix, the whole block",
    baseline=PUBLISHED,
    ours=OURS,
    names=names,
    build=build,
    reference=reference,
)

if __name__ == "__main__":
    sys.exit(main(THEME))
