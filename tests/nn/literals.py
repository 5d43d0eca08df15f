"""Blocks against literal forms of themselves: one number at a time, in float64, with every gradient.

A literal form is written from the formula in docs/blocks.md, by loops over indices. A number of a map is a tensor (B,)
here, so that ``numbers(x)[c][p][q]`` is channel c, row p, column q of every image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.nn.fusion import absorb, fuse
from tests.nn.test_fit_for_use import image, make

CHANNELS = 4
SHAPES = [(2, 5, 7), (2, 6, 3), (2, 1, 1), (1, 1, 1)]  # batch, height, width
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
Numbers = list[list[list[Tensor]]]
Literal = Callable[[Any, Tensor], Tensor]
Case = tuple[str, dict[str, Any], Literal]


def every_case(cases: Sequence[Case]) -> Any:
    """Parametrises a test by ``name``, ``options`` and ``literal``."""
    ids = ["-".join([name, *(f"{key}={value}" for key, value in options.items())]) for name, options, _ in cases]
    return pytest.mark.parametrize(("name", "options", "literal"), cases, ids=ids)


def numbers(x: Tensor) -> Numbers:
    _, channels, height, width = x.shape
    flat = iter(x.flatten(1).unbind(1))
    return [[[next(flat) for _ in range(width)] for _ in range(height)] for _ in range(channels)]


def as_map(values: Numbers) -> Tensor:
    flat = [value for channel in values for row in channel for value in row]
    return torch.stack(flat, 1).unflatten(1, (len(values), len(values[0]), len(values[0][0])))


def convolved(conv: nn.Conv2d, maps: Numbers) -> Numbers:
    """Of stride 1, dense, with zeros outside."""
    height, width, half = len(maps[0]), len(maps[0][0]), conv.kernel_size[0] // 2
    taps = [[[row.unbind() for row in kernel] for kernel in each.unbind()] for each in conv.weight.unbind()]

    def at(o: int, p: int, q: int) -> Tensor:
        total = torch.zeros_like(maps[0][0][0]) if conv.bias is None else conv.bias[o] + torch.zeros_like(maps[0][0][0])
        for c in range(len(maps)):
            for i in range(max(0, p - half), min(height, p + half + 1)):
                for j in range(max(0, q - half), min(width, q + half + 1)):
                    total = total + taps[o][c][i - p + half][j - q + half] * maps[c][i][j]
        return total

    return [[[at(o, p, q) for q in range(width)] for p in range(height)] for o in range(len(taps))]


def normed(norm: nn.BatchNorm2d, channel: int, values: Sequence[Tensor]) -> list[Tensor]:
    """All values of one channel by their own mean and variance in training, else, or if there is one, the running."""
    count = sum(len(value) for value in values)
    if norm.training and count > 1:
        mean = sum(value.sum() for value in values) / count
        variance = sum(((value - mean) ** 2).sum() for value in values) / count
    else:
        mean, variance = norm.running_mean[channel], norm.running_var[channel]  # type: ignore[index]
    return [
        (value - mean) / (variance + norm.eps) ** 0.5 * norm.weight[channel] + norm.bias[channel] for value in values
    ]


def normed_maps(norm: nn.BatchNorm2d, maps: Numbers) -> Numbers:
    width, result = len(maps[0][0]), []
    for channel, rows in enumerate(maps):
        flat = normed(norm, channel, [value for row in rows for value in row])
        result.append([flat[start : start + width] for start in range(0, len(flat), width)])
    return result


def randomise_norms(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]


def check_literal(
    name: str, options: dict[str, Any], literal: Literal, shape: tuple[int, int, int], training: bool
) -> None:
    """Output, and the gradients of the input and of every parameter."""
    block = make(name, CHANNELS, **options).double().train(training)
    randomise_norms(block)
    results = []
    for form in (block, lambda x: literal(block, x)):
        x = image(shape[1:], CHANNELS, shape[0]).double().requires_grad_()
        out = form(x)
        results.append([out, *torch.autograd.grad(out, [x, *block.parameters()], torch.cos(out.detach()))])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def check_norm_behind(name: str, takes: bool) -> None:
    """Fused, the block computes the same; a norm behind it becomes a part of it if it ``takes`` one."""
    block, x = make(name, 8).double().eval(), image((6, 7), 8).double()
    norm = nn.BatchNorm2d(8).double().eval()
    with torch.no_grad():
        for each in (norm, *(part for part in block.modules() if isinstance(part, nn.BatchNorm2d))):
            for values in (each.running_mean, each.running_var, each.weight, each.bias):
                values.uniform_(0.5, 2)
        expected = norm(block(x))
        fused = fuse(copy.deepcopy(block))
        torch.testing.assert_close(norm(fused(x)), expected)
        assert not [part for part in fused.modules() if isinstance(part, nn.BatchNorm2d)]
        together = absorb(fused, norm)
        assert (together is not None) == takes
        if together is not None:
            torch.testing.assert_close(together(x), expected)
