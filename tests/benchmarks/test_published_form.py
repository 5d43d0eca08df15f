"""The published form of the benchmarks is ACmix: same weights, same outputs, same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from acmix_exp.nn import ACmix
from acmix_exp.ops import reflected_window_attention
from benchmarks.published_form import PublishedACmix, published_operator
from tests.ops.tolerances import random_inputs, with_gradients

TOLERANCE = 1e-9


@pytest.mark.parametrize(
    ("planes", "options", "size"),
    [
        pytest.param((16, 16), {}, (9, 12), id="k7"),
        pytest.param((6, 8), {"kernel_att": 3, "head": 2}, (5, 4), id="k3"),
        pytest.param((8, 16), {"kernel_att": 5, "head": 8, "stride": 2}, (8, 6), id="k5-stride2"),
        pytest.param((8, 8), {"kernel_att": 5, "kernel_conv": 5}, (7, 7), id="conv5"),
    ],
)
def test_equals_acmix(planes: tuple[int, int], options: dict[str, Any], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, published = ACmix(*planes, **options).double(), PublishedACmix(*planes, **options).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    published.load_state_dict(ours.state_dict())
    x = torch.randn(2, planes[0], *size, dtype=torch.float64)
    names = ["input", *(name for name, _ in ours.named_parameters())]
    results = []
    for block in (ours, published):
        leaf = x.clone().requires_grad_()
        out = block(leaf)
        parameters = dict(block.named_parameters())
        leaves = [leaf, *(parameters[name] for name in names[1:])]
        results.append([out, *torch.autograd.grad(out, leaves, torch.cos(out.detach()))])
    for name, mine, theirs in zip(["output", *names], *results, strict=True):
        error = (mine - theirs).abs().max().item()
        assert error <= TOLERANCE * max(1.0, theirs.abs().max().item()), name


def test_the_initial_weights_are_those_of_acmix() -> None:
    ours, published = ACmix(8, 8).state_dict(), PublishedACmix(8, 8).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in published.items()}
    for key in ("rate1", "rate2", "dep_conv.weight"):
        assert torch.equal(ours[key], published[key]), key


def test_the_operator_equals_the_reference() -> None:
    inputs = random_inputs(2, 2, 3, 7, 6)

    def published(*tensors: torch.Tensor) -> torch.Tensor:
        return published_operator(*tensors, kernel_size=5, heads=2)

    def reference(*tensors: torch.Tensor) -> torch.Tensor:
        return reflected_window_attention(*tensors, kernel_size=5, heads=2, backend="reference")

    for mine, theirs in zip(with_gradients(published, inputs), with_gradients(reference, inputs), strict=True):
        torch.testing.assert_close(mine, theirs, atol=TOLERANCE, rtol=TOLERANCE)
