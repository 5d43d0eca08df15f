"""Only contenders whose output and gradients were correct in the same process are timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

# Largest error relative to the largest magnitude. The 16-bit ones are large because peers also keep logits and weights
# in 16 bits; the results contain the error.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 5e-5, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
FLOOR = 1e-2  # of the largest gradient: smaller sums of cancelling terms are rounding noise in every form

Tensors = dict[str, Tensor]


class WrongResult(RuntimeError):
    """A contender whose output or gradients are not those of the reference."""


@dataclass(frozen=True)
class Contender:
    """A form of the computation: ``call()`` gives the output, a function of ``leaves`` by name."""

    name: str
    call: Callable[[], Tensor]
    leaves: Tensors

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.call()

    def gradients(self, output_gradient: Tensor) -> Tensors:
        """The output, under "output", and the gradient of every leaf; without leaves there is no backward pass."""
        out = self.call()
        if not self.leaves:
            return {"output": out}
        grads = torch.autograd.grad(out, list(self.leaves.values()), output_gradient)
        return {"output": out.detach(), **dict(zip(self.leaves, grads, strict=True))}


@dataclass(frozen=True)
class Verified:
    """A contender that may be timed, made only by ``verify``."""

    contender: Contender
    output_gradient: Tensor
    errors: dict[str, float]

    @property
    def name(self) -> str:
        return self.contender.name

    def forward(self) -> None:
        self.contender.forward()

    def training(self) -> None:
        self.contender.gradients(self.output_gradient)


def expected(
    function: Callable[[Tensors], Tensor], batched: Mapping[str, Tensor], shared: Mapping[str, Tensor], gradient: Tensor
) -> Tensors:
    """Output and gradients of ``function`` in float64, sample by sample so that a slow form fits in memory.

    Dimension 0 of ``batched`` tensors is the batch; ``shared`` tensors are the same for all samples.
    """
    slices: dict[str, list[Tensor]] = {name: [] for name in ("output", *batched)}
    total: Tensors = {}
    for index in range(gradient.shape[0]):
        one = slice(index, index + 1)
        leaves = {name: tensor.detach()[one].double() for name, tensor in batched.items()}
        leaves |= {name: tensor.detach().double() for name, tensor in shared.items()}
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in leaves.items()}
        sample = Contender("expected", partial(function, leaves), leaves)
        for name, tensor in sample.gradients(gradient[one].double()).items():
            if name in slices:
                slices[name].append(tensor)
            else:
                total[name] = total[name] + tensor if name in total else tensor
    return {name: torch.cat(parts) for name, parts in slices.items()} | total


def verify(
    contender: Contender, reference: Tensors, output_gradient: Tensor, tolerance: float | None = None
) -> Verified:
    """Compare with the reference: the output with and without autograd, and the gradient of every leaf.

    ``tolerance``: by default that of the dtype.

    Raises:
        WrongResult: in one line, with the tensor and its error.
    """
    actual = contender.gradients(output_gradient)
    actual["output without autograd"] = contender.forward()
    correct = {**reference, "output without autograd": reference["output"]}
    if actual.keys() != correct.keys():
        raise WrongResult(f"{contender.name}: has {', '.join(actual)} instead of {', '.join(correct)}")
    tolerance = TOLERANCE[actual["output"].dtype] if tolerance is None else tolerance
    largest = max((correct[name].abs().max().item() for name in contender.leaves), default=0.0)
    errors = {}
    for name, tensor in correct.items():
        if actual[name].shape != tensor.shape:
            shapes = f"{tuple(actual[name].shape)} instead of {tuple(tensor.shape)}"
            raise WrongResult(f"{contender.name}: {name} is {shapes}")
        floor = FLOOR * largest if name in contender.leaves else 0.0
        scale = max(tensor.abs().max().item(), floor, torch.finfo(torch.float32).tiny)
        errors[name] = (actual[name].double() - tensor).abs().max().item() / scale
        if not errors[name] <= tolerance:
            raise WrongResult(f"{contender.name}: {name} is off by {errors[name]:.2g}, allowed {tolerance:.2g}")
    return Verified(contender, output_gradient, errors)
