"""Every backend that runs here against the reference, on shapes, windows and layouts drawn at random."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from acmix_exp.ops.window_attention import reflected_window_attention
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS, STEPS = (1, 3, 5, 7, 9), (1, 2, 3)
LAYOUTS = ("contiguous", "channels_last", "packed", "every other", "flipped in memory", "expanded")
# No shrinking: it would take minutes, and a drawn case is small already.
RANDOM = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@st.composite
def problems(
    draw: st.DrawFn, widest: int, side: int, most: int = 3, kernels: Sequence[int] = KERNELS
) -> dict[str, Any]:
    """Head width: any, and more often one next to a power of two."""
    few = st.integers(1, most)
    edges = [d for power in (4, 8, 16, 32, 64, 128, 256) for d in (power - 1, power, power + 1) if d <= widest]
    d = draw(st.one_of(st.integers(1, min(widest, 12)), st.sampled_from(edges)))
    return {
        "shape": (draw(few), draw(few), d, draw(st.integers(1, side)), draw(st.integers(1, side))),
        "window": {name: draw(st.sampled_from(STEPS)) for name in ("stride", "dilation")}
        | {"kernel_size": draw(st.sampled_from(kernels)), "scale": draw(st.sampled_from([None, 0.3]))},
        "layout": draw(st.sampled_from(LAYOUTS)),
        "position": draw(st.booleans()),
    }


def laid_out(maps: list[Tensor], layout: str) -> list[Tensor]:
    """The same values, (B, C, H, W), with other strides."""
    if layout == "channels_last":
        return [t.contiguous(memory_format=torch.channels_last) for t in maps]
    if layout == "packed":  # as one convolution gives them
        return list(torch.cat(maps, dim=1).chunk(3, dim=1))
    if layout == "every other":
        return [t.repeat_interleave(2, dim=-1)[..., ::2] for t in maps]
    if layout == "flipped in memory":
        return [t.transpose(2, 3).contiguous().transpose(2, 3) for t in maps]
    if layout == "expanded":  # one sample for all
        return [t[:1].expand_as(t) for t in maps]
    return maps


def compare(backend: str, dtype: torch.dtype, problem: dict[str, Any]) -> None:
    """Output and every gradient, with autograd on the strided tensors themselves."""
    query, key, value, weight = (t.to(DEVICE) for t in random_inputs(*problem["shape"], dtype))
    options = {**problem["window"], "heads": problem["shape"][1]}
    maps = laid_out([query, key, value], problem["layout"])

    def run(backend: str, dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.detach().to(dtype).requires_grad_() for t in (*maps, weight)]
        given = [*leaves[:3], leaves[3] if problem["position"] else None]
        return with_gradients(partial(reflected_window_attention, **options, backend=backend), given)

    expected = run("reference", torch.promote_types(dtype, torch.float64))
    # The terms of a query's gradient, of about scale * sqrt(d), may cancel, on one pixel to nothing; Triton sums them
    # from 16-bit weights and the rounded output.
    terms = (problem["window"]["scale"] or 0.0) * problem["shape"][2] ** 0.5
    floor = 1e-3 if dtype == torch.float64 else max(1.0, terms)
    assert_all_close(run(backend, dtype), expected, TOLERANCE[dtype], floor)


CPU = pytest.mark.parametrize("backend", ["shift", "tile"])
SHORT = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


@CPU
@settings(RANDOM, max_examples=25)
@given(problem=problems(widest=33, side=10))
def test_float64(backend: str, problem: dict[str, Any]) -> None:
    compare(backend, torch.float64, problem)


@SHORT
@CPU
@settings(RANDOM, max_examples=5)
@given(problem=problems(widest=65, side=9))
def test_other_dtypes(backend: str, dtype: torch.dtype, problem: dict[str, Any]) -> None:
    compare(backend, dtype, problem)


@TRITON
@settings(RANDOM, max_examples=3)
@given(problem=problems(widest=9, side=4, most=1, kernels=(1, 3)))
def test_triton(problem: dict[str, Any]) -> None:
    compare("triton", torch.float32, problem)


@pytest.mark.slow
@CPU
@settings(RANDOM, max_examples=150)
@given(problem=problems(widest=257, side=40))
def test_float64_thoroughly(backend: str, problem: dict[str, Any]) -> None:
    compare(backend, torch.float64, problem)


@pytest.mark.slow
@TRITON
@SHORT
@settings(RANDOM, max_examples=40)
@given(problem=problems(widest=256, side=12))
def test_triton_thoroughly(dtype: torch.dtype, problem: dict[str, Any]) -> None:
    compare("triton", dtype, problem)
