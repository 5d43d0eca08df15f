"""Every module against the outputs and gradients of its reference in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.nn.layers import published_flops
from tests import golden_adapter

GOLDEN = Path(__file__).with_name("golden")
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
ENTRIES = sorted(name for name in MANIFEST if not name.startswith("_"))
CASES = [name for name in ENTRIES if "output_shape" in MANIFEST[name]]
BACKBONES = [name for name in ENTRIES if "outputs" in MANIFEST[name]]


def load(name: str) -> dict[str, np.ndarray]:
    entry = MANIFEST[name]
    files = [entry["file"], *(extra["file"] for extra in entry.get("extra_files", ()))]
    return {key: array for file in files for key, array in np.load(GOLDEN / file).items()}


def check(name: str, actual: torch.Tensor | None, expected: np.ndarray) -> None:
    """Within 1e-9 of the largest value, 1e-6 if the array is stored as float32."""
    assert actual is not None, name
    tolerance = 1e-9 if expected.dtype == np.float64 else 1e-6
    largest = np.abs(expected).max()
    error = np.abs(actual.detach().numpy() - expected).max()
    # a gradient that cancels is rounding noise in the reference too
    assert error <= tolerance * max(largest, 1e-3), f"{name}: {error / largest:.3g} of {largest:.3g}"


def loss(out: torch.Tensor) -> torch.Tensor:
    return (out.flatten() * torch.cos(0.7 * torch.arange(out.numel(), dtype=torch.float64))).sum()


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    entry, arrays = MANIFEST[name], load(name)
    module, forward = golden_adapter.build(entry, arrays)
    assert not module.training
    x = torch.from_numpy(arrays["input"]).double().requires_grad_()
    out = forward(x)
    check("output", out, arrays["output"])
    loss(out).backward()
    check("grad_input", x.grad, arrays["grad_input"])
    parameters = dict(module.named_parameters())
    for key in arrays:
        if key.startswith("grad/"):
            check(key, parameters[key.removeprefix("grad/")].grad, arrays[key])


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_give_a_list(name: str) -> None:
    """The weights are computed from their names; tests/nn/test_fusion_golden.py checks the gradients."""
    arrays = load(name)
    _, forward = golden_adapter.build(MANIFEST[name], arrays)
    with torch.no_grad():
        outputs = forward(torch.from_numpy(arrays["input"]))
    for key, out in zip(MANIFEST[name]["outputs"], outputs, strict=True):
        check(key, out, arrays[key])


def test_initial_weights() -> None:
    name = "acmix_init_c16"
    arrays = load(name)
    module, _ = golden_adapter.build(MANIFEST[name], arrays)
    start = dict(module.named_parameters())
    for key in ("rate1", "rate2"):
        check(key, start[key], arrays[key])


def test_no_entry_is_left_out() -> None:
    assert len(CASES) + len(BACKBONES) == len(ENTRIES) - 1, "one entry has only initial weights"


# The counts of the reference include a second run of its branches, and an offset network that it does not use.
COUNTED_DIFFERENTLY = ("acmix_branches_c16_k7_h4_8x10", "dat_nooff_nope_c32_h4_g2_s2_k2_8x8")


@pytest.mark.parametrize("name", [name for name in CASES if name not in COUNTED_DIFFERENTLY])
def test_flops_are_those_counted_on_the_reference(name: str) -> None:
    entry = MANIFEST[name]
    module, _ = golden_adapter.build(entry, load(name))
    if hasattr(module, "flops"):
        batch, _, height, width = entry["input_shape"]
        assert batch * published_flops(module, height, width) == 2 * entry["macs_conv_matmul"]
